"""Requests about the result of a run: `export`, `serve`, `try`, `helm`, `score`, `reproduce`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from core.model.quantisation import Precision
from oneday.requests.request import RARE, Option, Redoing, Reporting, WithDryRun, WithTrainedBase


@dataclass(frozen=True, kw_only=True)
class ExportRequest(Reporting, WithTrainedBase):
    """Adapter or merged weights, with a model card.

    They go to 09_export.

    Example: oneday export runs/200k --merge bf16
    """

    run: Annotated[Path, Option(is_argument=True)]
    """Run folder."""
    merge: Literal["fp32", "bf16"] | None = None
    """Merged weights instead of the adapter."""
    check: bool = True
    """Compare merged weights with base and adapter."""
    push: str | None = None
    """Upload to this repository of the hub: owner/name."""


@dataclass(frozen=True, kw_only=True)
class ServeRequest(WithTrainedBase):
    """Serve a checkpoint over HTTP for HELM.

    /process, /tokenize and /decode as HELM and the challenge ask for them; /health and /ready beside them.

    Example: oneday serve --checkpoint runs/200k --port 8080
    """

    checkpoint: Path = Path("runs/demo")
    """Run, adapter or model folder."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Option(low=0, high=65_535)] = 8080
    """Port; 0 takes a free one."""
    precision: Precision | None = None
    """Default: as trained."""
    overlong: Annotated[str, Option(is_rare=True, one_of="submission.engine.long_text:Overlong")] = "left-truncate"
    """What is done with prompts beyond the window."""
    compat: Annotated[Literal["birbal"] | None, RARE] = None
    """Wrap and cut as the winner's server did."""
    max_batch: Annotated[int, Option(is_rare=True, low=1, high=256)] = 16
    """Requests answered together."""
    max_waiting: Annotated[int, Option(is_rare=True, low=1, high=100_000)] = 256
    """Then 503 and Retry-After."""
    deadline: Annotated[str, RARE] = "10m"
    """Longest time to an answer: 10m."""


@dataclass(frozen=True, kw_only=True)
class TryRequest(WithTrainedBase):
    """Ask once, in the template that the model was trained on.

    Example: oneday try "Write the opposite of the last word, as one word." --input "The plate of Fay is hot."
    """

    prompt: Annotated[str, Option(is_argument=True)]
    """The instruction."""
    input: str = ""
    """The input that goes with it."""
    checkpoint: Path = Path("runs/demo")
    """Run, adapter or model folder."""
    precision: Precision | None = None
    """Default: as trained."""
    max_new_tokens: Annotated[int, Option(low=1, high=4096)] = 128
    """Length of the answer."""
    raw: bool = False
    """Pass the prompt verbatim, without the template."""


@dataclass(frozen=True, kw_only=True)
class HelmRequest(Reporting, WithTrainedBase, WithDryRun):
    """Run the real HELM against a checkpoint.

    In an environment of its own, against our server; the same command resumes. simple needs no data. open and hidden
    are the challenge's own scenarios, for those who have a network or the data: submission/helm/run_specs.conf lists
    them and says what goes where.

    Examples: oneday helm --gsm8k ../shared/data/gsm8k
              oneday helm --suite open --checkpoint runs/200k --instances 20
    """

    suite: str = "simple"
    """simple, open, hidden, all (both), or a file of entries."""
    checkpoint: Path | None = None
    """Run, adapter or model folder to serve. Default: runs/demo, else the demo base."""
    url: str | None = None
    """Ask a server that runs already instead."""
    instances: Annotated[int | None, Option(low=1)] = None
    """At most so many of each entry. Default: its own; 10 for simple."""
    gsm8k: Path | None = None
    """Folder with GSM8K's train.jsonl and, if at hand, test.jsonl."""
    scenarios: Path | None = None
    """Folder with data as HELM keeps it: mmlu/data, ..."""
    out: Path = Path("runs/helm")
    """Folder for HELM's results."""
    precision: Annotated[Precision | None, RARE] = None
    """Default: as trained."""
    threads: Annotated[int, Option(is_rare=True, low=1, high=64)] = 4
    """Requests at once."""
    environment: Annotated[Path, RARE] = Path(".helm")
    """Folder for HELM itself."""


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Reporting):
    """The challenge's score from HELM results.

    Win rates -> mean win rates -> geometric means -> the challenge's final score. TABLES are .json or .csv files, or
    suite folders of helm-summarize. The published rule gives back the challenge's 96 figures; HELM's is the one of its
    own tables.

    Examples: oneday score 4090_full_ranks.json --plot scores.svg
              oneday score benchmark_output/runs/mine --against 4090_full_ranks.json --rule helm
    """

    tables: Annotated[tuple[Path, ...], Option(is_argument=True)]
    """Tables (.json, .csv) or suite folders of helm-summarize."""
    against: Path | None = None
    """The field to put them into: a table or folder too."""
    rule: Literal["published", "helm"] = "published"
    """How a column becomes win rates."""
    plot: Path | None = None
    """Draw the field into this SVG file."""


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest(Redoing):
    """A run again from its manifest, figure by figure.

    Rows and base model are checked by hash first; the run follows the logged plan; at the end both checkpoints are
    served and asked the same. Exit code 2 if anything but a version differs beyond its bound.

    Example: oneday reproduce runs/200k/manifest.json --run runs/again --curate
    """

    manifest: Annotated[Path, Option(is_argument=True)]
    """RUN/manifest.json of the run to repeat."""
    run: Path = Path("runs/reproduced")
    """Folder of the repetition."""
    mix: Path | None = None
    """Its mix. Default: 05_mix beside the manifest."""
    base: Path | None = None
    """Its base model. Default: where it was."""
    card: Annotated[str | None, Option(suggests="harness.budget.gpu_profile:GPU_PROFILES")] = None
    """Default: the one on record."""
    budget: str | None = None
    """Default: a tenth more than it had."""
    questions: Annotated[int, Option(low=0)] = 32
    """Held-out questions to both, served; 0: serve neither."""
    curate: bool = False
    """Curate anew, instead of taking the mix by hash."""
    tasks: Annotated[tuple[Path, ...], RARE] = ()
    """With --curate: where the task files are now."""
    url: Annotated[str | None, RARE] = None
    """With --curate: where the base is asked now. Only a URL given here gets a key."""
    ray_address: Annotated[str | None, RARE] = None
    """With --curate: auto, or HOST:PORT. Default: this machine, whatever is on record."""
