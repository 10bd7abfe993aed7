"""The requests of `generate` and `evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from core.model.quantisation import Precision
from oneday.requests.request import RARE, Option, Redoing, Reporting, WithDryRun, WithTrainedBase

SUITE = Option(is_argument=True, suggests="evaluation.suites:SUITES")


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(Redoing, WithTrainedBase, WithDryRun):
    """A model's responses to a suite, for evaluate.

    Greedy, in batches, longest prompts first; the same command goes on after a kill. Every response holds the settings
    that it was generated with. The responses of a run's picked checkpoint are charged to the run's budget while it has
    time left.

    Examples: oneday generate ifeval --items input_data.jsonl --model runs/200k --out tuned.jsonl
              oneday generate ifeval --items input_data.jsonl --model http://127.0.0.1:8000/v1 --out served.jsonl
    """

    suite: Annotated[str, SUITE]
    """The suite whose prompts are asked; evaluate knows the same ones."""
    items: Path
    """The suite's items: their file, a folder that holds it, or a data set of the hub."""
    model: str
    """Run, adapter or model folder, the model's name on the hub, or the URL of a server that speaks OpenAI's protocol,
    up to /v1."""
    out: Path | None = None
    """File of the responses. Default: runs/responses/SUITE-MODEL.jsonl."""
    template: Literal["chat", "instruction", "plain"] | None = None
    """How a prompt is rendered. Default: instruction for what oneday train trained, chat for a server and a model with
    a chat template, else plain."""
    max_new_tokens: Annotated[int | None, Option(low=1, high=32_768)] = None
    """Longest response. Default: the suite's."""
    repetition_penalty: Annotated[float | None, Option(low=0.5, high=4.0)] = None
    """1 for none. Default: the suite's."""
    response_prefix: Annotated[str | None, RARE] = None
    """What a response is made to begin with. Default: the suite's."""
    stop: Annotated[tuple[str, ...], RARE] = ()
    """A text before which a response ends. Default: the suite's."""
    precision: Precision | None = None
    """Default: as trained."""
    batch_size: Annotated[int, Option(low=1, high=4096)] = 32
    """Prompts answered together."""
    served_model: Annotated[str | None, RARE] = None
    """The server's name for the model. Default: the only one that it serves."""
    set: tuple[str, ...] = ()
    """A parameter of the suite: KEY=VALUE, as prompts=tc-eval."""
    uncharged: Annotated[bool, RARE] = False
    """Outside of the run's budget; noted there."""

    @property
    def file(self) -> Path:
        """Where the responses go."""
        if self.out is not None:
            return self.out
        name = self.model.split("://", 1)[-1].strip("/").replace("/", "-").replace(":", "-")
        return Path("runs/responses") / f"{self.suite}-{name}.jsonl"


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(Reporting):
    """Score recorded responses, with confidence intervals.

    No model and no network is needed. Writes scores.json, items.jsonl and report.html. Responses are JSON lines with
    suite, language and id, or task and id, or key or prompt; or one TC-Eval document.

    Example: oneday evaluate ifeval --items input_data.jsonl --responses gpt4_responses.jsonl
    """

    suite: Annotated[str, SUITE]
    """ifeval, ifeval-fi; language, spelling, relevance, judge, modifiers; drcd, fgc, ttqa, penguins, tmmlu, xsum-tc,
    imdb-tc; held-out."""
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
