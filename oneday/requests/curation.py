"""Requests of curation: `curate` with its subcommands, `check`, `verify`, and `demo`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from oneday.requests.engine import MODEL, WithEngine
from oneday.requests.request import GENERAL, Option, Redoing, Reporting, WithDryRun

Preset = Literal["recommended", "birbal-paper", "birbal-scripts"]

DATA, MIX = "Data", "Mix"
"""Panels."""


@dataclass(frozen=True, kw_only=True)
class DemoRequest(Redoing):
    """Run all steps on embedded data, offline, in about five minutes.

    Corpus, curation, training, comparison and server, on a CPU. Run it again to resume, or to see the results again.

    Example: oneday demo --run runs/demo
    """

    run: Path = Path("runs/demo")
    """Run folder."""
    budget: str | None = None
    """Training budget. Default: 2m30s, up to 15m on a slow machine."""
    retain: float = 0.25
    """Share of rows that the base already gets right; with 0 the model forgets abilities of the base."""


@dataclass(frozen=True, kw_only=True)
class WithTasks(Redoing):
    """Of a command that selects rows."""

    tasks: Annotated[tuple[Path, ...], Option(panel=DATA)] = ()
    """Folder or file of NI tasks, or data of your own in any layout and file."""
    layout: Annotated[str | None, Option(panel=DATA, is_rare=True, one_of="core.example.layout:Layout")] = None
    """Layout of your own data. Default: detected for each record."""
    mix: Annotated[str | None, Option(panel=DATA, suggests="curation.sources.source:MIXES", sets=("mix",))] = None
    """200k, 400k or 700k: all sources of the paper's Table 1. Default: only --tasks and --source."""
    scale: Annotated[float, Option(panel=DATA, sets=("scale",))] = 1.0
    """Factor on Table 1's numbers of rows, but not on your own; 0.01 takes a hundredth."""
    source: Annotated[tuple[str, ...], Option(panel=DATA, is_rare=True)] = ()
    """NAME=FILE, NAME=hub or NAME=hub@REVISION."""
    hub: Annotated[bool, Option(panel=DATA, is_rare=True)] = False
    """Fetch missing sources from the datasets hub."""
    without: Annotated[str, Option(panel=DATA, is_rare=True, sets=("without",))] = ""
    """Sources to leave out, separated by commas."""
    language: Annotated[str | None, Option(panel=DATA, is_rare=True, sets=("rules.language", "policies.language"))] = (
        None
    )
    """Language of the rows to take, such as fi. Default: en."""
    against: Annotated[tuple[str, ...], Option(panel=DATA, is_rare=True)] = ()
    """NAME=FILE of an evaluation suite that no row may repeat."""
    task_list: Annotated[Path | None, Option(panel=DATA, is_rare=True, sets=("task_list",))] = None
    """File of task names, used instead of the selection rules; birbal: the winner's 462."""
    kinds: Annotated[Path | None, Option(panel=DATA, is_rare=True, sets=("kinds",))] = None
    """Overrides: lines of `task exact_match|generation`."""


@dataclass(frozen=True, kw_only=True)
class CurationRequest(WithEngine, WithTasks):
    """The options that determine a mix. The preset supplies values that are None."""

    tokenizer: Annotated[str | None, Option(panel=MODEL, is_rare=True)] = None
    """Folder or file that counts tokens, or none. Default: the base's."""
    run: Annotated[Path | None, Option(panel=MIX)] = None
    """Run folder. Default: runs/MIX, or runs/ and the name of your file."""
    preset: Annotated[Preset, Option(panel=MIX)] = "recommended"
    """Choices that apply where no option is given."""
    set: Annotated[tuple[str, ...], Option(panel=MIX)] = ()
    """KEY=VALUE for any choice of the preset; docs/reference.md lists the keys."""
    take_all: Annotated[bool, Option(panel=MIX, sets=("samples.take_all",))] = False
    """Keep all rows of your own, whatever the base answers."""
    own_share: Annotated[float | None, Option(panel=MIX, sets=("samples.own_share",))] = None
    """Share of your own rows in the mix, such as 0.3. Default: all of them are kept."""
    add: Annotated[tuple[str, ...], Option(panel=MIX)] = ()
    """NAME:SHARE of the mix's tokens, such as ni:20%; rows of your own without a share are kept whole."""
    control: Annotated[
        str | None, Option(panel=MIX, is_rare=True, one_of="curation.sample:Control", sets=("samples.control",))
    ] = None
    """Draw rows without asking the base, as the arm that a choice by difficulty is compared with."""
    retain: Annotated[float | None, Option(panel=MIX, is_rare=True, sets=("samples.retain_share",))] = None
    """Share of rows that the base already gets right."""
    fit: Annotated[str | None, Option(panel=MIX, is_rare=True, sets=("fit.budget_s",))] = None
    """Choose the size of the mix so that training fills this budget: 24h."""
    tokens_per_s: Annotated[float | None, Option(panel=MIX, is_rare=True, sets=("fit.tokens_per_s",))] = None
    """With --fit: training speed of the card."""
    train_share: Annotated[float | None, Option(panel=MIX, is_rare=True, sets=("fit.share",))] = None
    """With --fit: share of the budget spent on training steps. Default: 0.92."""
    licences: Annotated[
        str | None,
        Option(
            panel=MIX, is_rare=True, one_of="curation.policies.licence:LicencePolicy",
            sets=("rules.licences", "policies.licences"),
        ),
    ] = None  # fmt: skip
    """Licences that a row may have."""
    instances_per_task: Annotated[
        int | None, Option(panel=MIX, is_rare=True, low=1, high=10_000_000, sets=("instances_per_task",))
    ] = None
    """Instances per task that the base answers."""
    shots: Annotated[int | None, Option(panel=MIX, is_rare=True, low=0, high=1_000, sets=("prompts.max_shots",))] = None
    """Largest number of shots. Default: all."""
    signals: Annotated[bool, Option(panel=MIX, is_rare=True, sets=("signals",))] = False
    """Measure each asked row's loss with and without the prompt as well, and store both beside the answers."""
    probe_losses: Annotated[Path | None, Option(panel=MIX, is_rare=True)] = None
    """File of `oneday curate losses`: rows that are hard before and after a probe training are dropped."""
    within: Annotated[str | None, Option(panel=MIX)] = None
    """Time for asking the base: 3h, or 15% of the budget of the training. Default: every instance is asked."""
    budget: Annotated[str, Option(panel=MIX, is_rare=True)] = "24h"
    """With --within as a share: the budget of the training that follows."""
    adaptive: Annotated[bool, Option(panel=MIX, is_rare=True)] = False
    """As --within, without a time limit: stop asking once quotas are filled and buckets are certain."""
    normaliser: Annotated[
        str | None, Option(panel=MIX, is_rare=True, one_of="core.score:Normaliser", sets=("scores.normaliser",))
    ] = None
    """How an answer is normalised before it is compared with its references."""
    rouge: Annotated[
        str | None,
        Option(panel=MIX, is_rare=True, one_of="core.score:Rouge", sets=("scores.rouge", "scores.rouge_text")),
    ] = None
    """Which ROUGE-L scores a generated answer."""
    empty: Annotated[
        str | None, Option(panel=MIX, is_rare=True, one_of="core.score:EmptyRule", sets=("scores.empty",))
    ] = None
    """The score of an empty prediction."""
    seed: Annotated[int, Option(panel=MIX, is_rare=True, low=0, high=2**32 - 1, sets=("seed",))] = 2023
    """Seed of every random draw."""
    workers: Annotated[int | None, Option(panel=MIX, is_rare=True, low=1, high=1_024)] = None
    """Processes that score. Default: one per core."""


@dataclass(frozen=True, kw_only=True)
class CurateRequest(CurationRequest, WithDryRun):
    """Select the data that the base model gets wrong.

    NI tasks -> few-shot predictions of the base model -> scores -> buckets -> samples -> mix. --dry-run shows prompts,
    tokens, time and cost before the first prediction.

    Examples: oneday curate --tasks natural-instructions/tasks --base models/Mistral-7B-v0.1 --mix 200k --run runs/200k
              oneday curate --tasks mine.jsonl --base models/Mistral-7B-v0.1 --run runs/mine
    """

    card: Annotated[
        str | None, Option(panel=GENERAL, suggests="harness.budget.gpu_profile:GPU_PROFILES", is_rare=True)
    ] = None
    """With --dry-run: compute the speed of this card, such as rtx4090; it need not be in this machine."""
    prompts_per_s: Annotated[float | None, Option(panel=GENERAL, is_rare=True, low=1e-9)] = None
    """With --dry-run: speed of the engine."""
    price_per_hour: Annotated[float | None, Option(panel=GENERAL, is_rare=True, low=0)] = None
    """With --dry-run: price of the machine."""
    price_per_million_tokens: Annotated[str | None, Option(panel=GENERAL, is_rare=True)] = None
    """With --dry-run: price of tokens, as IN or IN,OUT."""


@dataclass(frozen=True, kw_only=True)
class DiffRequest(CurationRequest):
    """Show how another preset differs, in choices and in rows of a finished run.

    Rows are counted from the stored predictions of --run; give the options with which it was made.

    Example: oneday curate diff birbal-paper --preset recommended
    """

    other: Annotated[Preset, Option(is_argument=True)]
    """The preset to compare with."""


@dataclass(frozen=True, kw_only=True)
class StabilityRequest(CurationRequest):
    """Show what another score or seed would change.

    Give a finished --run with the options with which it was made, or only stored --predictions.

    Example: oneday curate stability --tasks natural-instructions/tasks --base models/Mistral-7B-v0.1 --run runs/200k
    """


@dataclass(frozen=True, kw_only=True)
class ProbeLossesRequest(Reporting):
    """Measure the rows that the base got wrong before and after a probe training.

    The probe is a run that was trained for a few minutes on other rows. Curate again with --probe-losses to drop the
    rows that stay hard.

    Example: oneday curate losses runs/ni --probe runs/probe --out losses.jsonl
    """

    run: Annotated[Path, Option(is_argument=True)]
    """Run folder of a curation."""
    probe: Path
    """Run folder, adapter or model of the probe training."""
    out: Path
    """File of JSON lines to write: task, id, before, after."""
    base: Path | None = None
    """Folder of the base model. Default: the one that the probe was trained on."""


@dataclass(frozen=True, kw_only=True)
class ScorePredictionsRequest(Reporting):
    """Score stored predictions; no model and no task files are needed.

    Example: oneday curate score --predictions predictions.jsonl --rouge rouge --empty zero --json
    """

    predictions: Path
    """JSON lines with task, id, references, prediction."""
    rouge: Annotated[str, Option(one_of="core.score:Rouge", sets=("scores.rouge", "scores.rouge_text"))] = "rouge-score"
    """Which ROUGE-L scores a generated answer."""
    empty: Annotated[str, Option(one_of="core.score:EmptyRule", sets=("scores.empty",))] = "zero"
    """The score of an empty prediction."""
    normaliser: Annotated[str, Option(one_of="core.score:Normaliser", sets=("scores.normaliser",))] = "normalised"
    """How an answer is normalised before it is compared with its references."""


@dataclass(frozen=True, kw_only=True)
class CheckRequest(Reporting):
    """List every problem of data with its place, and every row that curation would leave out.

    It reads JSON, JSON lines, CSV, Parquet and Arrow, packed or not, in all usual layouts. It also lists rows that a
    curation with the same options would drop or count as duplicates. Exit code 2 if there is a problem to mend.

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
    """Layout of all records. Default: detected for each record."""
    base: Path | None = None
    """Folder of the base model, whose tokenizer determines which rows are too long."""
    tokenizer: str | None = None
    """Folder or file that counts tokens, or none. Default: the base's."""
    preset: Preset = "recommended"
    """Choices that apply where no option is given."""
    set: tuple[str, ...] = ()
    """KEY=VALUE for any choice of the preset; docs/reference.md lists the keys."""
    licences: Annotated[
        str | None,
        Option(one_of="curation.policies.licence:LicencePolicy", sets=("rules.licences", "policies.licences")),
    ] = None
    """Licences that a row may have."""
    language: Annotated[str | None, Option(sets=("rules.language", "policies.language"))] = None
    """Language of the rows to take, such as fi. Default: en."""
    against: tuple[str, ...] = ()
    """NAME=FILE of an evaluation suite that no row may repeat."""
    take_all: bool = True
    """As `oneday curate --take-all`. Without it, rows that curation uses as examples in prompts are listed as well."""
    seed: Annotated[int, Option(low=0, high=2**32 - 1)] = 2023
    """Seed of every random draw."""


@dataclass(frozen=True, kw_only=True)
class VerifyRequest(Reporting):
    """Recompute every hash of a run folder.

    Exit code 2 if a file differs from the run's manifest.

    Example: oneday verify runs/200k
    """

    run: Annotated[Path, Option(is_argument=True)]
    """Run folder."""
