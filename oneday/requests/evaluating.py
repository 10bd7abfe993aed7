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
        return Path("runs/responses") / f"{self.suite}-{file_name(self.model)}.jsonl"


LM_EVAL = "lm-evaluation-harness"


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(Reporting, WithTrainedBase):
    """Score recorded responses, with confidence intervals.

    No model and no network is needed. Writes scores.json, items.jsonl and report.html. Responses are JSON lines with
    suite, language and id, or task and id, or key or prompt; or one TC-Eval document. With --lm-eval, a model is
    evaluated by the real lm-evaluation-harness, with or without a suite.

    Examples: oneday evaluate ifeval --items input_data.jsonl --responses gpt4_responses.jsonl
              oneday evaluate --lm-eval arc_easy,my_task.yaml --model runs/200k
    """

    suite: Annotated[str | None, SUITE] = None
    """ifeval, ifeval-fi; language, spelling, relevance, judge, modifiers; drcd, fgc, ttqa, penguins, tmmlu, xsum-tc,
    imdb-tc, tc-eval; held-out."""
    items: Path | None = None
    """The suite's items: their file, a folder that holds it, or a data set of the hub."""
    responses: Path | None = None
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
    lm_eval: Annotated[tuple[str, ...], Option(panel=LM_EVAL)] = ()
    """Tasks of lm_eval, separated by commas: names or patterns, task files that end in .yaml, or folders of them."""
    model: Annotated[str | None, Option(panel=LM_EVAL)] = None
    """The model: a run, an adapter, a model folder, or a name on the hub."""
    limit: Annotated[int | None, Option(panel=LM_EVAL, low=1)] = None
    """Largest number of documents of each task. Default: all."""
    num_fewshot: Annotated[int | None, Option(panel=LM_EVAL, low=0, high=100)] = None
    """Number of shots. Default: the task's."""
    chat_template: Annotated[bool, Option(panel=LM_EVAL)] = False
    """Render prompts with the chat template of the model's tokenizer."""
    precision: Annotated[Precision | None, Option(panel=LM_EVAL)] = None
    """Precision of the weights. Default: that of training."""
    batch_size: Annotated[int, Option(panel=LM_EVAL, low=1, high=1024)] = 8
    """Number of documents in a batch."""

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        if self.out is not None:
            return self.out
        if self.suite is None or self.responses is None:
            return Path("runs/scores") / f"lm-eval-{file_name(self.model or '')}"
        stem = self.responses.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
        return Path("runs/scores") / f"{self.suite}-{stem}"


def file_name(model: str) -> str:
    """A model's name as part of a file's: the URL of a server, a path or a name on the hub."""
    return model.split("://", 1)[-1].strip("/").replace("/", "-").replace(":", "-")
