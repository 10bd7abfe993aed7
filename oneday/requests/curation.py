"""Requests of curation: `curate` with its subcommands, `check`, `verify`, and `demo`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from core.model.quantisation import Precision
from oneday.requests.request import GENERAL, Option, Redoing, Reporting, WithDryRun

Preset = Literal["recommended", "birbal-paper", "birbal-scripts"]

DATA, MODEL, MIX = "Data", "Base model", "Mix"
"""Panels."""


@dataclass(frozen=True, kw_only=True)
class DemoRequest(Redoing):
    """The main job on embedded defaults, offline, in about five minutes.

    Corpus, curation, training, comparison and server, on a CPU. Run it again to resume or to look.

    Example: oneday demo --run runs/demo
    """

    run: Path = Path("runs/demo")
    """Run folder."""
    budget: str | None = None
    """Training budget. Default: 2m30s, on a slow machine up to 15m."""
    retain: float = 0.25
    """Share of rows that the base already gets right; with 0 the model forgets what it could do."""


@dataclass(frozen=True, kw_only=True)
class CurationRequest(Redoing):
    """The options that decide a mix. Where a value is None, the preset decides."""

    tasks: Annotated[tuple[Path, ...], Option(panel=DATA)] = ()
    """Folder or file of NI tasks, or data of your own in any layout and file."""
    layout: Annotated[str | None, Option(panel=DATA, is_rare=True, one_of="core.example.layout:Layout")] = None
    """Of every record of your own data. Default: found by looking at each."""
    mix: Annotated[str | None, Option(panel=DATA, suggests="curation.sources.source:MIXES", sets=("mix",))] = None
    """200k, 400k or 700k: all sources of the paper's Table 1. Default: what --tasks and --source name."""
    scale: Annotated[float, Option(panel=DATA, sets=("scale",))] = 1.0
    """Scales Table 1's rows, not your own; 0.01 takes a hundredth."""
    source: Annotated[tuple[str, ...], Option(panel=DATA, is_rare=True)] = ()
    """NAME=FILE, NAME=hub or NAME=hub@REVISION."""
    hub: Annotated[bool, Option(panel=DATA, is_rare=True)] = False
    """Fetch what is not found from the datasets hub."""
    without: Annotated[str, Option(panel=DATA, is_rare=True, sets=("without",))] = ""
    """Sources to leave out, by comma."""
    against: Annotated[tuple[str, ...], Option(panel=DATA, is_rare=True)] = ()
    """NAME=FILE of an evaluation suite that no row may repeat."""
    task_list: Annotated[Path | None, Option(panel=DATA, is_rare=True, sets=("task_list",))] = None
    """File of task names to take instead of the rules; birbal: the winner's 462."""
    kinds: Annotated[Path | None, Option(panel=DATA, is_rare=True, sets=("kinds",))] = None
    """Overrides: lines of `task exact_match|generation`."""
    base: Annotated[Path | None, Option(panel=MODEL)] = None
    """Folder of the base model."""
    predictor: Annotated[str, Option(panel=MODEL, suggests="core.generation.engine:NAMES")] = "transformers"
    """transformers, openai, replay, or ray: before one of them."""
    predictions: Annotated[tuple[Path, ...], Option(panel=MODEL, is_rare=True)] = ()
    """Stored predictions, with replay."""
    url: Annotated[str | None, Option(panel=MODEL, is_rare=True)] = None
    """With openai: http://HOST:PORT/v1."""
    model: Annotated[str | None, Option(panel=MODEL, is_rare=True)] = None
    """With openai: the model's name there."""
    concurrency: Annotated[int, Option(panel=MODEL, is_rare=True, low=1, high=65_536)] = 64
    """With openai: most requests in flight."""
    ray_address: Annotated[str | None, Option(panel=MODEL, is_rare=True)] = None
    """With ray: auto, or HOST:PORT. Default: this machine."""
    ray_workers: Annotated[int | None, Option(panel=MODEL, is_rare=True, low=1, high=65_536)] = None
    """With ray. Default: one per GPU or machine."""
    batch_size: Annotated[int, Option(panel=MODEL, is_rare=True, low=1, high=65_536)] = 32
    """Prompts per forward pass."""
    precision: Annotated[Precision | None, Option(panel=MODEL, is_rare=True)] = None
    """Default: bf16 on a GPU."""
    tokenizer: Annotated[str | None, Option(panel=MODEL, is_rare=True)] = None
    """Folder or file that counts tokens, or none. Default: the base's."""
    run: Annotated[Path | None, Option(panel=MIX)] = None
    """Run folder. Default: runs/MIX, or runs/ and the name of your file."""
    preset: Annotated[Preset, Option(panel=MIX)] = "recommended"
    """Whose choices hold where no option says otherwise."""
    set: Annotated[tuple[str, ...], Option(panel=MIX)] = ()
    """KEY=VALUE of any choice of the preset; docs/reference.md lists them."""
    take_all: Annotated[bool, Option(panel=MIX, sets=("samples.take_all",))] = False
    """Keep all rows of your own, whatever the base makes of them."""
    own_share: Annotated[float | None, Option(panel=MIX, sets=("samples.own_share",))] = None
    """Share of the mix that is rows of your own: 0.3. Default: all there are."""
    retain: Annotated[float | None, Option(panel=MIX, is_rare=True, sets=("samples.retain_share",))] = None
    """Share of rows that the base already gets right."""
    fit: Annotated[str | None, Option(panel=MIX, is_rare=True, sets=("fit.budget_s",))] = None
    """Size the mix so that training fills this budget: 24h."""
    tokens_per_s: Annotated[float | None, Option(panel=MIX, is_rare=True, sets=("fit.tokens_per_s",))] = None
    """With --fit: what the card trains."""
    train_share: Annotated[float | None, Option(panel=MIX, is_rare=True, sets=("fit.share",))] = None
    """With --fit: part of the budget that trains. Default: 0.92."""
    licences: Annotated[
        str | None,
        Option(
            panel=MIX, is_rare=True, one_of="curation.policies.licence:LicencePolicy",
            sets=("rules.licences", "policies.licences"),
        ),
    ] = None  # fmt: skip
    """Which licences a row may have."""
    instances_per_task: Annotated[
        int | None, Option(panel=MIX, is_rare=True, low=1, high=10_000_000, sets=("instances_per_task",))
    ] = None
    """Instances asked per task."""
    shots: Annotated[int | None, Option(panel=MIX, is_rare=True, low=0, high=1_000, sets=("prompts.max_shots",))] = None
    """At most so many shots. Default: all."""
    adaptive: Annotated[bool, Option(panel=MIX, is_rare=True)] = False
    """Stop asking a task once its bucket is certain."""
    normaliser: Annotated[
        str | None, Option(panel=MIX, is_rare=True, one_of="core.score:Normaliser", sets=("scores.normaliser",))
    ] = None
    """How an answer is compared with its references."""
    rouge: Annotated[
        str | None,
        Option(panel=MIX, is_rare=True, one_of="core.score:Rouge", sets=("scores.rouge", "scores.rouge_text")),
    ] = None
    """Which ROUGE-L scores a generated answer."""
    empty: Annotated[
        str | None, Option(panel=MIX, is_rare=True, one_of="core.score:EmptyRule", sets=("scores.empty",))
    ] = None
    """What an empty prediction scores."""
    seed: Annotated[int, Option(panel=MIX, is_rare=True, low=0, high=2**32 - 1, sets=("seed",))] = 2023
    """Of every draw."""
    workers: Annotated[int | None, Option(panel=MIX, is_rare=True, low=1, high=1_024)] = None
    """Processes that score. Default: one per core."""


@dataclass(frozen=True, kw_only=True)
class CurateRequest(CurationRequest, WithDryRun):
    """Choose the data by what the base gets wrong.

    NI tasks -> few-shot predictions of the base model -> scores -> buckets -> samples -> mix. With --dry-run: prompts,
    tokens, time and cost, before anything is asked.

    Examples: oneday curate --tasks natural-instructions/tasks --base models/Mistral-7B-v0.1 --mix 200k --run runs/200k
              oneday curate --tasks mine.jsonl --base models/Mistral-7B-v0.1 --run runs/mine
    """

    prompts_per_s: Annotated[float | None, Option(panel=GENERAL, is_rare=True, low=1e-9)] = None
    """With --dry-run: the engine's speed."""
    price_per_hour: Annotated[float | None, Option(panel=GENERAL, is_rare=True, low=0)] = None
    """With --dry-run: of the machine."""
    price_per_million_tokens: Annotated[str | None, Option(panel=GENERAL, is_rare=True)] = None
    """With --dry-run: IN or IN,OUT."""


@dataclass(frozen=True, kw_only=True)
class DiffRequest(CurationRequest):
    """How another preset differs: in choices, and in rows of a finished run.

    Rows are counted from the stored predictions of --run; give the options that it was made with.

    Example: oneday curate diff birbal-paper --preset recommended
    """

    other: Annotated[Preset, Option(is_argument=True)]
    """The preset to compare with."""


@dataclass(frozen=True, kw_only=True)
class StabilityRequest(CurationRequest):
    """What another score or seed would change.

    Of a finished --run, with the options that it was made with; or of stored --predictions alone.

    Example: oneday curate stability --tasks natural-instructions/tasks --base models/Mistral-7B-v0.1 --run runs/200k
    """


@dataclass(frozen=True, kw_only=True)
class ScorePredictionsRequest(Reporting):
    """Score stored predictions, without model or task files.

    Example: oneday curate score --predictions predictions.jsonl --rouge rouge --empty zero --json
    """

    predictions: Path
    """JSON lines with task, id, references, prediction."""
    rouge: Annotated[str, Option(one_of="core.score:Rouge", sets=("scores.rouge", "scores.rouge_text"))] = "rouge-score"
    """Which ROUGE-L scores a generated answer."""
    empty: Annotated[str, Option(one_of="core.score:EmptyRule", sets=("scores.empty",))] = "zero"
    """What an empty prediction scores."""
    normaliser: Annotated[str, Option(one_of="core.score:Normaliser", sets=("scores.normaliser",))] = "normalised"
    """How an answer is compared with its references."""


@dataclass(frozen=True, kw_only=True)
class CheckRequest(Reporting):
    """List every problem of data with its place, and every row that curation would leave out.

    It reads JSON, JSON lines, CSV, Parquet and Arrow, packed or not, in the layouts that people have. Rows that a
    curation with the same options would drop or count as duplicates are told too. Exit code 2 if there is something to
    mend.

    Examples: oneday check mine.jsonl
              oneday check dialogues/ pairs.parquet --json
              oneday check natural-instructions/tasks
              oneday check chats.jsonl --training --base models/Mistral-7B-v0.1 --sequence-len 2048
    """

    files: Annotated[tuple[Path, ...], Option(is_argument=True)]
    """Files, folders or archives of data, NI tasks, or names of data sets on the hub."""
    training: bool = False
    """List what `oneday train --data` would leave out, instead of what curation would."""
    sequence_len: Annotated[int | None, Option(low=2)] = None
    """With --training and --base: the recipe's, to tell which examples are too long."""
    long_examples: Annotated[str, Option(is_rare=True, one_of="core.encoding.long_example:LongExamples")] = "auto"
    """As of `oneday train`."""
    layout: Annotated[str | None, Option(one_of="core.example.layout:Layout")] = None
    """Of every record. Default: found by looking at each."""
    base: Path | None = None
    """Folder of the base model, whose tokenizer tells which rows are too long."""
    tokenizer: str | None = None
    """Folder or file that counts tokens, or none. Default: the base's."""
    preset: Preset = "recommended"
    """Whose choices hold where no option says otherwise."""
    set: tuple[str, ...] = ()
    """KEY=VALUE of any choice of the preset; docs/reference.md lists them."""
    licences: Annotated[
        str | None,
        Option(one_of="curation.policies.licence:LicencePolicy", sets=("rules.licences", "policies.licences")),
    ] = None
    """Which licences a row may have."""
    against: tuple[str, ...] = ()
    """NAME=FILE of an evaluation suite that no row may repeat."""
    take_all: bool = True
    """As `oneday curate --take-all`. Without: also tell the rows that curation shows as examples in its prompts."""
    seed: Annotated[int, Option(low=0, high=2**32 - 1)] = 2023
    """Of every draw."""


@dataclass(frozen=True, kw_only=True)
class VerifyRequest(Reporting):
    """Recompute every hash of a run folder.

    Exit code 2 if a file is not what the run's manifest says.

    Example: oneday verify runs/200k
    """

    run: Annotated[Path, Option(is_argument=True)]
    """Run folder."""
