"""`oneday helm`: runs HELM against a checkpoint, or against any server with the challenge's API."""

import contextlib
import json
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from core.files import write_json
from oneday.display.console import Console
from oneday.local_server import local_server
from oneday.requests.submission import HelmRequest, ServeRequest
from submission.checkpoint import find_served
from submission.errors import HelmError, TableError
from submission.helm.results import RunLog, RunResult, read_runs
from submission.helm.run import RESULTS, HelmRun, install, is_installed, reason, run_helm, wait_for
from submission.helm.suite import Suite, check_data, place_gsm8k, place_scenarios, read_suite
from submission.helm.tables import read_suite as read_tables
from submission.score.ranks import COLUMNS

DEMO_RUN = Path("runs/demo")
DEMO_BASE = Path(__file__).parents[1] / "demo" / "demo_base"
SIMPLE_INSTANCES = 10
"""Instances of each scenario of the suite simple: enough to find faults of a server, and fast with a small model."""

OTHER_INSTANCES = 1000
"""Instances of an entry that gives no number; all entries of the challenge give one."""


def served(request: HelmRequest) -> Path:
    """The checkpoint to serve: the one given, else the demo's, else the demo's base model."""
    if request.checkpoint is not None:
        return request.checkpoint
    return DEMO_RUN if (DEMO_RUN / "08_pick" / "picked.json").is_file() else DEMO_BASE


def run_helm_command(request: HelmRequest, console: Console) -> None:
    """Checks the options, installs HELM, serves the checkpoint, runs HELM and shows the results.

    Raises:
        HelmError: A run of HELM failed.
    """
    suite = _suite(request)
    check_data(request.gsm8k, request.scenarios)
    if request.url is None:
        find_served(
            served(request),
            base=request.base,
            precision=request.precision,
            base_changed=request.base_changed_on_purpose,
        )
    elif request.checkpoint is not None:
        raise HelmError(
            "`checkpoint=` with `url=`: give one of them. `url=` uses a running server, `checkpoint=` starts one."
        )
    if request.out.exists() and not request.out.is_dir():
        raise HelmError(f"`out={request.out}`: a file. Give a folder for HELM's results.")
    if request.dry_run:
        _show_plan(request, suite, console)
        return
    if not is_installed(request.environment):
        console.say(f"installing HELM in {request.environment}: about 1 GB, one to three minutes")
    helm = install(request.environment)
    started = time.monotonic()
    with _server(request, console) as (url, model):
        run = HelmRun(
            helm=helm,
            url=url,
            model=model,
            out=request.out.absolute(),
            suite=suite,
            num_instances=request.instances or (SIMPLE_INSTANCES if suite.name == "simple" else OTHER_INSTANCES),
            num_threads=request.threads,
        )
        _place(request, run, console)
        log = run_helm(run, on_progress=lambda log: _show_progress(log, console))
    results = read_runs(run.results)
    columns = measured_columns(run.results)
    show_results(results, log, seconds=time.monotonic() - started, console=console)
    console.say(f"HELM's own files, for oneday score and helm-server: {run.results}")
    summary = {
        "suite": suite.name, "model": model, "num_retries": log.num_retries, "failed": dict(log.failed),
        "columns": columns, "runs": [asdict(r) for r in results],
    }  # fmt: skip
    console.result(summary)
    if log.failed:
        raise HelmError(
            f"{len(log.failed)} of {log.num_runs} runs failed, first {reason(log, run.log)} "
            "The same command runs the missing ones."
        )
    write_json(run.folder / RESULTS, summary)


def _suite(request: HelmRequest) -> Suite:
    suite = read_suite(request.suite, at_most=request.instances)
    if suite.name == "simple" and request.gsm8k is not None:
        return Suite(name=suite.name, conf=suite.conf, entries=("gsm",))
    return suite


def _show_plan(request: HelmRequest, suite: Suite, console: Console) -> None:
    what = request.url or f"oneday serve --checkpoint {served(request)} on a free port"
    ready = "is there" if is_installed(request.environment) else "would be installed, about 1 GB"
    rows = [
        ("suite", " + ".join([suite.name, *suite.entries])),
        ("server", what),
        ("HELM", f"{request.environment} {ready}"),
        ("results", str(request.out / "benchmark_output" / "runs" / suite.name)),
    ]
    console.table("oneday helm --dry-run", ("what", "plan"), rows)
    console.result({"dry_run": True, **dict(rows)})


def _place(request: HelmRequest, run: HelmRun, console: Console) -> None:
    """Puts the data where HELM looks for it before it downloads."""
    if request.scenarios is not None:
        place_scenarios(request.scenarios, run.scenarios)
    if request.gsm8k is not None:
        console.say(place_gsm8k(request.gsm8k, run.scenarios))
    elif run.suite.name == "simple":
        console.say("gsm is left out: pass `gsm8k=FOLDER`, the folder with GSM8K's train.jsonl")


@contextlib.contextmanager
def _server(request: HelmRequest, console: Console) -> Iterator[tuple[str, str]]:
    """The server's address and its model; starts `oneday serve` on a free port unless a server is given."""
    if request.url is not None:
        url = request.url.rstrip("/")
        wait_for(url, patience_s=5.0)
        yield url, _model_at(url)
        return
    checkpoint = served(request)
    if request.checkpoint is None and checkpoint == DEMO_BASE:
        console.say(f"no {DEMO_RUN} yet (oneday demo makes it): serving the base model it starts from, {checkpoint}")
    else:
        console.say(f"serving {checkpoint}")
    log = request.out / "server.log"
    wanted = ServeRequest(
        checkpoint=checkpoint,
        base=request.base,
        precision=request.precision,
        base_changed_on_purpose=request.base_changed_on_purpose,
    )
    with local_server(wanted, log=log) as url:
        wait_for(url, patience_s=5.0)
        yield url, str(checkpoint.absolute())


def _model_at(url: str) -> str:
    """The model that /health names; the address if the server does not have /health."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
            health = json.load(reply)
        return " ".join(str(health[key]) for key in ("model", "lora_adapter") if health.get(key)) or url
    return url


def measured_columns(suite: Path) -> Mapping[str, object]:
    """The challenge's columns for which helm-summarize has a figure."""
    try:
        return {name: value for _, row in read_tables(suite, COLUMNS) for name, value in row.items()}
    except TableError:  # the suite has none of the challenge's scenarios
        return {}


def _show_progress(log: RunLog, console: Console) -> None:
    if log.started:
        console.progress("helm-run", max(0, len(log.started) - 1), log.num_runs, log.started[-1].split(",model=")[0])


def show_results(results: Sequence[RunResult], log: RunLog, *, seconds: float, console: Console) -> None:
    """Shows one row for each scenario; its score is the mean over its runs, as in HELM's tables."""
    groups: dict[str, list[RunResult]] = defaultdict(list)
    for result in results:
        groups[result.group].append(result)
    rows = []
    for group, runs in groups.items():
        scores = [run.score for run in runs if run.score is not None]
        rows.append(
            (
                group, str(len(runs)), str(sum(run.num_instances for run in runs)), runs[0].metric,
                f"{fmean(scores):.3f}" if scores else "-", f"{fmean(run.output_tokens for run in runs):.1f}",
                str(sum(run.num_overruns for run in runs)),
            )
        )  # fmt: skip
    title = f"HELM: {len(results)} runs in {seconds:.0f} s, {log.num_retries} retries, {len(log.failed)} failed"
    names = ("scenario", "runs", "instances", "metric", "score", "tokens an answer", "overruns")
    console.table(title, names, rows)
    if log.num_retries:
        console.say(f"warning: HELM repeated {log.num_retries} requests that the server failed; see the server's log")
    if any(result.num_overruns for result in results):
        console.say("warning: overruns are answers beyond max_new_tokens or a stop sequence; the server must cut them")
