"""The requests of `generate` and `evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from core.model.quantisation import Precision
from oneday.requests.request import RARE, Option, Redoing, Reporting, WithDryRun, WithTrainedBase

SUITE = Option(is_argument=True, suggests="evaluation.suites:SUITES")


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(Redoing, WithTrainedBase, WithDryRun):
    """Generate a model's responses to a suite, to be scored by evaluate.

    Decoding is greedy and in batches. The same command continues after a kill. Every response stores the settings that
    it was generated with. A run whose budget has time left is charged for it.

    Examples: oneday generate ifeval --items input_data.jsonl --model runs/200k --out tuned.jsonl
              oneday generate ifeval --items input_data.jsonl --model http://127.0.0.1:8000/v1 --out served.jsonl
    """

    suite: Annotated[str, SUITE]
    """The suite whose prompts are asked: one of those of evaluate."""
    items: Path
    """The suite's items: their file, a folder that holds it, or a data set of the hub."""
    model: str
    """The model: a run, an adapter, a model folder, a name on the hub, or the URL of an OpenAI-compatible server,
    including /v1."""
    out: Path | None = None
    """The file of the responses. Default: runs/responses/SUITE-MODEL.jsonl."""
    template: Literal["chat", "alpaca", "plain"] | None = None
    """How a prompt is rendered. Default: as oneday train trained the model; chat for a server and a model with a chat
    template; otherwise plain."""
    max_new_tokens: Annotated[int | None, Option(low=1, high=32_768)] = None
    """Largest number of tokens of a response. Default: the suite's."""
    repetition_penalty: Annotated[float | None, Option(low=0.5, high=4.0)] = None
    """Penalty of repeated tokens; 1 is none. Default: the suite's."""
    response_prefix: Annotated[str | None, RARE] = None
    """Text that begins every response and is no part of it. Default: the suite's."""
    stop: Annotated[tuple[str, ...], RARE] = ()
    """A text at which a response ends. Default: the suite's."""
    precision: Precision | None = None
    """Precision of the weights. Default: that of training."""
    batch_size: Annotated[int, Option(low=1, high=4096)] = 32
    """Number of prompts in a batch."""
    served_model: Annotated[str | None, RARE] = None
    """The server's name for the model. Default: the only one that it serves."""
    set: tuple[str, ...] = ()
    """A parameter of the suite as KEY=VALUE, such as prompts=tc-eval."""
    uncharged: Annotated[bool, RARE] = False
    """Do not charge the run's budget; the time is only noted."""

    @property
    def file(self) -> Path:
        """The file of the responses."""
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
    num_fewshot: Annotated[int | None, Option(panel=LM_EVAL, is_rare=True, low=0, high=100)] = None
    """Number of shots. Default: the task's."""
    chat_template: Annotated[bool, Option(panel=LM_EVAL)] = False
    """Render prompts with the chat template of the model's tokenizer."""
    precision: Annotated[Precision | None, Option(panel=LM_EVAL, is_rare=True)] = None
    """Precision of the weights. Default: that of training."""
    batch_size: Annotated[int, Option(panel=LM_EVAL, is_rare=True, low=1, high=1024)] = 8
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
