"""Requests about the result of a run: `export`, `package`, `serve`, `try`, `helm`, `score`, `reproduce`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from core.model.quantisation import Precision
from oneday.requests.request import RARE, Option, Redoing, Reporting, WithDryRun, WithTrainedBase


@dataclass(frozen=True, kw_only=True)
class ExportRequest(Reporting, WithTrainedBase):
    """Export the adapter, merged weights or a GGUF file with a model card.

    It is written to 09_export. Another program then loads it and is compared with the run on 64 prompts: transformers
    and PEFT, or llama.cpp.

    Examples: oneday export runs/200k --merge bf16
              oneday export runs/200k --to ollama
    """

    run: Annotated[Path, Option(is_argument=True)]
    """Run folder."""
    to: Literal["adapter", "merged", "gguf", "ollama"] | None = None
    """What is exported; ollama is a GGUF file with a Modelfile. Default: merged with --merge, else the adapter."""
    merge: Literal["fp32", "bf16"] | None = None
    """Export merged weights of this type. Default of --to merged: bf16."""
    gguf_type: Literal["f32", "f16", "bf16", "q8_0"] | None = None
    """Type of the weights in a GGUF file. Default: f16."""
    check: bool = True
    """Load the export by another program, and compare it with the run."""
    environment: Annotated[Path, RARE] = Path(".llama")
    """Folder of llama.cpp's virtual environment. It is made for the first GGUF file, which takes minutes."""
    push: str | None = None
    """Upload to this repository of the hub: owner/name."""


@dataclass(frozen=True, kw_only=True)
class PackageRequest(Reporting, WithTrainedBase):
    """Write one folder from which an organiser builds and runs a submission.

    It holds a Dockerfile, this project's code, pinned requirements, the picked adapter or model, and the base model or
    the hashes by which the build fetches it.

    Example: oneday package runs/200k --out submission
    """

    run: Annotated[Path, Option(is_argument=True)]
    """Run folder."""
    out: Path = Path("submission")
    """Folder to write; it must not hold anything."""
    weights: Literal["copy", "fetch"] = "copy"
    """Put the base model into the folder, or let the build fetch it from the hub and check its hashes."""


@dataclass(frozen=True, kw_only=True)
class ServeRequest(WithTrainedBase):
    """Serve a checkpoint over HTTP for HELM, lm-eval and OpenAI's client.

    The server has /process, /tokenize and /decode, as HELM and the challenge require; /v1/completions,
    /v1/chat/completions and /v1/models, as in OpenAI's API; and /health, /ready and /metrics.

    Example: oneday serve --checkpoint runs/200k --port 8080
    """

    checkpoint: Path = Path("runs/demo")
    """Run, adapter or model folder."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Option(low=0, high=65_535)] = 8080
    """Port; 0 takes a free one."""
    precision: Precision | None = None
    """Precision of the base. Default: as in training."""
    overlong: Annotated[str, Option(is_rare=True, one_of="submission.engine.long_text:Overlong")] = "left-truncate"
    """How prompts longer than the context are handled."""
    compat: Annotated[Literal["birbal", "challenge"] | None, RARE] = None
    """For /process: birbal wraps and cuts as the winner's server did; challenge has the starter kit's defaults."""
    token_file: Path | None = None
    """File with a token that requests must carry."""
    served_model_name: Annotated[str | None, RARE] = None
    """Model name in /v1. Default: the checkpoint folder's name."""
    chat_template: Annotated[Path | None, RARE] = None
    """Jinja file for chats. Default: the adapter's, else the base's."""
    max_batch: Annotated[int, Option(is_rare=True, low=1, high=256)] = 16
    """Requests answered in one batch."""
    max_waiting: Annotated[int, Option(is_rare=True, low=1, high=100_000)] = 256
    """Waiting requests; further ones get 503 and Retry-After."""
    prefix_mib: Annotated[int, Option(is_rare=True, low=0, high=1_000_000)] = 512
    """Memory for prompts that were read, so that what later ones begin with is not read again; 0 keeps none."""
    deadline: Annotated[str, RARE] = "10m"
    """Longest time to an answer, such as 10m."""


@dataclass(frozen=True, kw_only=True)
class TryRequest(WithTrainedBase):
    """Answer one prompt, in the template that the model was trained on.

    Example: oneday try "Write the opposite of the last word, as one word." --input "The plate of Fay is hot."
    """

    prompt: Annotated[str, Option(is_argument=True)]
    """The instruction."""
    input: str = ""
    """The input that belongs to the instruction."""
    checkpoint: Path = Path("runs/demo")
    """Run, adapter or model folder."""
    precision: Precision | None = None
    """Precision of the base. Default: as in training."""
    max_new_tokens: Annotated[int, Option(low=1, high=4096)] = 128
    """Longest answer, in tokens."""
    raw: bool = False
    """Pass the prompt verbatim, without the template."""


@dataclass(frozen=True, kw_only=True)
class ChatRequest(WithTrainedBase):
    """Talk to a picked checkpoint in the terminal, with the base beside it on request.

    The model is loaded once, and answers appear as they are generated. /base, /reset and /quit are commands.

    Examples: oneday chat runs/mine
              oneday chat runs/mine --beside-base --system "Answer in one sentence."
    """

    checkpoint: Annotated[Path, Option(is_argument=True)]
    """Run, adapter or model folder."""
    beside_base: bool = False
    """Show what the base answers too."""
    system: str = ""
    """The system text of the conversation."""
    template: Literal["auto", "chat", "alpaca"] = "auto"
    """auto: the chat template of the training or of the base, else the Alpaca prompt, line by line."""
    max_new_tokens: Annotated[int, Option(low=1, high=4096)] = 512
    """Longest answer, in tokens."""
    temperature: Annotated[float, Option(low=0, high=5)] = 0.0
    """0: the most likely token each time."""
    seed: Annotated[int, Option(low=0)] = 0
    """Of a temperature above 0."""
    precision: Annotated[Precision | None, RARE] = None
    """Precision of the base. Default: as in training."""


@dataclass(frozen=True, kw_only=True)
class HelmRequest(Reporting, WithTrainedBase, WithDryRun):
    """Run the real HELM against a checkpoint.

    HELM runs in a virtual environment of its own against our server; the same command resumes. simple needs no data.
    open and hidden are the challenge's scenarios and need a network or the data: submission/helm/run_specs.conf lists
    them and says where the data belongs.

    Examples: oneday helm --gsm8k ../shared/data/gsm8k
              oneday helm --suite open --checkpoint runs/200k --instances 20
    """

    suite: str = "simple"
    """simple, open, hidden, all (both), or a file of entries."""
    checkpoint: Path | None = None
    """Run, adapter or model folder to serve. Default: runs/demo, else the demo base."""
    url: str | None = None
    """Use a running server instead."""
    instances: Annotated[int | None, Option(low=1)] = None
    """Largest number of instances of each entry. Default: the entry's own; 10 for simple."""
    gsm8k: Path | None = None
    """Folder with GSM8K's train.jsonl and, if available, test.jsonl."""
    scenarios: Path | None = None
    """Folder with data in HELM's layout: mmlu/data, ..."""
    out: Path = Path("runs/helm")
    """Folder for HELM's results."""
    precision: Annotated[Precision | None, RARE] = None
    """Precision of the base. Default: as in training."""
    threads: Annotated[int, Option(is_rare=True, low=1, high=64)] = 4
    """Parallel requests."""
    environment: Annotated[Path, RARE] = Path(".helm")
    """Folder of HELM's virtual environment."""


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Reporting):
    """Compute the challenge's score from HELM results.

    Win rates -> mean win rates -> geometric means -> the challenge's final score. TABLES are .json or .csv files, suite
    folders of helm-summarize, or results of lm-eval. The published rule reproduces the challenge's 96 figures; the rule
    helm is that of HELM's own tables. Only scenarios that all tables have count, and the output names them.

    Examples: oneday score 4090_full_ranks.json --plot scores.svg
              oneday score benchmark_output/runs/mine --against 4090_full_ranks.json --rule helm
    """

    tables: Annotated[tuple[Path, ...], Option(is_argument=True)]
    """Tables (.json, .csv), suite folders of helm-summarize, results of lm-eval."""
    against: Path | None = None
    """Table or folder of the other submissions, among which TABLES are ranked."""
    rule: Literal["published", "helm"] = "published"
    """How win rates are computed from a column."""
    instances: Annotated[int | None, Option(low=2)] = None
    """Number of items behind each figure, for intervals of tables without standard errors."""
    plot: Path | None = None
    """SVG file for a plot of all submissions."""


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest(Redoing):
    """Repeat a run from its manifest and compare both, figure by figure.

    Rows and base model are checked by hash first; the run follows the logged plan; at the end both checkpoints are
    served and answer the same questions. Exit code 2 if anything but a version differs beyond its bound.

    Example: oneday reproduce runs/200k/manifest.json --run runs/again --curate
    """

    manifest: Annotated[Path, Option(is_argument=True)]
    """RUN/manifest.json of the run to repeat."""
    run: Path = Path("runs/reproduced")
    """Folder of the repetition."""
    mix: Path | None = None
    """The run's mix. Default: 05_mix beside the manifest."""
    base: Path | None = None
    """The run's base model. Default: the recorded folder."""
    card: Annotated[str | None, Option(suggests="harness.budget.gpu_profile:GPU_PROFILES")] = None
    """Profile of the card. Default: the recorded one."""
    budget: str | None = None
    """Training budget. Default: a tenth more than the run had."""
    questions: Annotated[int, Option(low=0)] = 32
    """Held-out questions that both checkpoints answer; 0: serve neither."""
    curate: bool = False
    """Repeat the curation as well, instead of using the recorded mix."""
    tasks: Annotated[tuple[Path, ...], RARE] = ()
    """With --curate: present paths of the task files."""
    url: Annotated[str | None, RARE] = None
    """With --curate: address of the server of the base. Only a URL given here gets a key."""
    ray_address: Annotated[str | None, RARE] = None
    """With --curate: auto, or HOST:PORT. Default: this machine, whatever is recorded."""
