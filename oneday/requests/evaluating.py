"""The request of `evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from oneday.requests.request import Option, Reporting


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(Reporting):
    """Score recorded responses, with confidence intervals.

    No model and no network is needed. Writes scores.json, items.jsonl and report.html. Responses are JSON lines with
    suite, language and id, or task and id, or key or prompt; or one TC-Eval document.

    Example: oneday evaluate ifeval --items input_data.jsonl --responses gpt4_responses.jsonl
    """

    suite: Annotated[str, Option(is_argument=True, suggests="evaluation.suites:SUITES")]
    """ifeval, ifeval-fi; language, spelling, relevance, judge, modifiers; drcd, fgc, ttqa, penguins, tmmlu, xsum-tc,
    imdb-tc."""
    items: Path
    """The suite's items: their file, or a folder that holds it."""
    responses: Path
    """The responses to score."""
    against: Path | None = None
    """Other responses to the same items, for paired differences."""
    out: Path | None = None
    """Folder of the results. Default: runs/scores/SUITE-RESPONSES."""
    partial: bool = False
    """Count items without a response as failed, instead of stopping."""
    set: tuple[str, ...] = ()
    """A parameter of the suite as KEY=VALUE, such as letter_rule=upstream."""
    seed: Annotated[int, Option(low=0)] = 0
    """Seed of the bootstrap."""

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        stem = self.responses.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
        return self.out or Path("runs/scores") / f"{self.suite}-{stem}"
