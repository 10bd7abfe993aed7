"""HELM's figures for each run, and what its log says about the server.

    for result in read_runs(Path("runs/helm/benchmark_output/runs/simple")):
        print(result.run, result.score, result.num_overruns)

A run is one entry of run_specs.conf, after HELM has expanded it (BIG-bench: one for each number of shots). Its folder
holds `run_spec.json`, `stats.json` and `scenario_state.json`. The last has every request with its answer, from which
one sees whether the server respected `max_new_tokens` and `stop_sequences`. Accuracy alone does not distinguish a weak
model from a server that never stops: both score 0.

Where it sits: run -> **results** -> `oneday helm`. The challenge's columns come from tables.py instead.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from submission.errors import HelmError

SCHEMA = Path(__file__).parent / "schema.yaml"
"""The schema for helm-summarize: the main metric and split of every group."""

FAMILIES = ("robustness", "fairness")
"""Families of perturbations. HELM reports the worst figure over each."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The figures of one run on its main split."""

    run: str
    group: str
    metric: str
    """The metric that the challenge, or HELM, ranks by."""
    score: float | None
    """None if HELM did not measure it, as for BIG-bench's tasks that are scored by BLEU."""
    num_instances: int
    output_tokens: float
    """Mean number of tokens of an answer, as the server counts them."""
    num_overruns: int
    """Answers that are too long or contain a stop sequence. The server is at fault: HELM does not cut them."""
    metrics: Mapping[str, float]
    """All means under HELM's names; ` (robustness)` and ` (fairness)` mark worst cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLog:
    """The content of helm-run's log."""

    num_runs: int
    """Number of planned runs; 0 before HELM has read its entries."""
    started: tuple[str, ...]
    failed: Mapping[str, str]
    """The error of each failed run, in one line."""
    num_retries: int
    """Requests that HELM repeated, /tokenize and /decode included. More than 0 means that the server failed some."""


class _Lenient(BaseModel):
    # HELM writes many more fields than are read here.
    model_config = ConfigDict(extra="ignore")


class _Perturbation(_Lenient):
    name: str
    computed_on: str = "worst"


class _MetricName(_Lenient):
    name: str
    split: str | None = None
    sub_split: str | None = None
    perturbation: _Perturbation | None = None

    def shown(self) -> str | None:
        """The name in `RunResult.metrics`; None if the metric is not kept."""
        if self.sub_split is not None:
            return None
        if self.perturbation is None:
            return self.name
        kept = self.perturbation.name in FAMILIES and self.perturbation.computed_on == "worst"
        return f"{self.name} ({self.perturbation.name})" if kept else None


class _Stat(_Lenient):
    name: _MetricName
    mean: float | None = None


class _RunSpec(_Lenient):
    name: str
    groups: list[str]


class _Completion(_Lenient):
    text: str
    tokens: list[object]


class _Request(_Lenient):
    max_tokens: int
    stop_sequences: list[str]
    echo_prompt: bool = False


class _Result(_Lenient):
    completions: list[_Completion]


class _RequestState(_Lenient):
    request: _Request
    result: _Result


class _ScenarioState(_Lenient):
    request_states: list[_RequestState]


class _Environment(_Lenient):
    main_name: str
    main_split: str


class _Group(_Lenient):
    name: str
    environment: _Environment | None = None


class _Schema(_Lenient):
    run_groups: list[_Group]


def read_runs(suite: Path) -> list[RunResult]:
    """Every finished run of a suite folder, sorted by name.

    Raises:
        HelmError: a file does not have HELM's format.
    """
    groups = _Schema.model_validate(yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))).run_groups
    main = {group.name: group.environment for group in groups if group.environment is not None}
    return [_read_run(path.parent, main) for path in sorted(suite.glob("*/stats.json"))]


def _read_run(folder: Path, main: Mapping[str, _Environment]) -> RunResult:
    spec = _parsed(folder / "run_spec.json", TypeAdapter(_RunSpec))
    stats = _parsed(folder / "stats.json", TypeAdapter(list[_Stat]))
    states = _parsed(folder / "scenario_state.json", TypeAdapter(_ScenarioState)).request_states
    group = next((name for name in reversed(spec.groups) if name in main), (spec.groups or [spec.name])[0])
    known = main.get(group)
    split = known.main_split if known else "test" if any(s.name.split == "test" for s in stats) else "valid"
    metrics = {
        shown: stat.mean
        for stat in stats
        if stat.name.split == split and stat.mean is not None and (shown := stat.name.shown()) is not None
    }
    metric = known.main_name if known else "exact_match"
    return RunResult(
        run=spec.name,
        group=group,
        metric=metric,
        score=metrics.get(metric),
        num_instances=round(metrics.get("num_instances", 0)),
        output_tokens=metrics.get("num_output_tokens", 0.0),
        num_overruns=sum(_overruns(state) for state in states),
        metrics=metrics,
    )


def _overruns(state: _RequestState) -> bool:
    asked = state.request
    if asked.echo_prompt:  # the answer contains the prompt's tokens
        return False
    return any(
        len(answer.tokens) > asked.max_tokens or any(stop in answer.text for stop in asked.stop_sequences)
        for answer in state.result.completions
    )


def _parsed(path: Path, adapter: TypeAdapter[T]) -> T:
    try:
        return adapter.validate_json(path.read_bytes())
    except (OSError, ValidationError) as e:
        why = e.errors()[0]["msg"] if isinstance(e, ValidationError) else e.strerror
        raise HelmError(f"{path}: not what HELM 0.5.16 writes ({why}). Remove the folder and run it again.") from e


_STAMPED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z]+ +(.*)")
_PLANNED = re.compile(r"\d+ entries produced (\d+) run specs$")
_RUNNING = re.compile(r"Running (\S.*) \{$")
_FAILED = re.compile(r"Error when running (\S.*):$")
_RETRY = re.compile(r"Request failed\. Retrying \(attempt #\d+\) in \d+ seconds")
_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|NotFound|Interrupt)\b.*")


def read_log(lines: Iterable[str]) -> RunLog:
    """Counts retries and finds failed runs.

    The relevant lines are `N entries produced M run specs`, `Running NAME {`, `Error when running NAME:` with a
    traceback after it, and `Request failed. Retrying (attempt #2) in 10 seconds...` of HELM's proxy/retry.py. The lines
    of a traceback have no time stamp. For a resumed run, the last attempt and all retries count.
    """
    planned, retries, failing = 0, 0, None
    started: list[str] = []
    failed: dict[str, str] = {}
    for line in lines:
        stamped = _STAMPED.match(line)
        if stamped is None:
            if failing is not None and _RAISED.match(line):
                failed[failing] = line.split(" Request: Request(")[0].strip()  # without the whole prompt
            continue
        said, failing = stamped[1], None
        if found := _PLANNED.match(said):
            planned, started = int(found[1]), []
        elif found := _RUNNING.match(said):
            started.append(found[1])
            failed.pop(found[1], None)
        elif found := _FAILED.match(said):
            failing = found[1]
            failed[failing] = "no reason given"
        elif _RETRY.match(said):
            retries += 1
    return RunLog(num_runs=planned, started=tuple(started), failed=failed, num_retries=retries)
