"""`oneday curate` and its modes: from options to parameters, from results to tables."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args

from curation.adaptive import AdaptiveParameters
from curation.bucket import bucket_tasks
from curation.check import check
from curation.contamination import LEAST_WORDS
from curation.curate import curate
from curation.errors import MixError, OnedayError, PredictionError, SourceError, StageError, TaskError
from curation.estimate import Estimate, estimate
from curation.fit import FitParameters
from curation.language_model import Precision, check_model_folder
from curation.licence import LicencePolicy
from curation.own_data import OWN_TASKS, SUFFIXES, own_stage
from curation.predict import Predictor, read_predictions
from curation.predictors.engine import Engine, close
from curation.preset import CurationParameters, Difference, differences, preset, reseeded, with_settings
from curation.record import resolve_on_hub
from curation.score import EmptyRule, Normaliser, Rouge, RougeText, rouge_l_scorer, score
from curation.select import read_kind_overrides, read_task_list
from curation.source import SOURCES, locate, mix_targets
from curation.stage import INPUTS, locked, read_json
from curation.stages.context import MIX, SAMPLES, SCORES, STAGES, TASKS, Curation
from curation.task import task_paths
from curation.tokens import MISTRAL_7B, TokenCounter
from curation.verify import verify
from curation.what_if import Alternatives, Change, stored_changes, variants
from curation.workers import default_workers
from harness.budget import pretty, seconds
from harness.manifest import record
from oneday.console import Console

Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateRequest:
    """The options of `oneday curate`, as given. None: the preset decides."""

    tasks: Sequence[Path]
    engine: Engine
    run: Path
    preset: str
    settings: Sequence[str]
    mix: str | None
    scale: float | None
    without: str | None
    sources: Sequence[str]
    hub: bool
    against: Sequence[str]
    tokenizer: str | None
    instances_per_task: int | None
    task_list: Path | None
    kinds: Path | None
    licences: str | None
    normaliser: str | None
    rouge: str | None
    empty: str | None
    retain: float | None
    shots: int | None
    adaptive: bool
    fit: str | None
    tokens_per_s: float | None
    train_share: float
    workers: int | None
    seed: int
    redo: bool


def run_curate(request: CurateRequest, console: Console) -> None:
    """Checks everything that is cheap, then loads the model, then works."""
    with prepared(request, console) as curation:
        mix = curate(curation)
    base = str(request.engine.base.resolve()) if request.engine.base else None
    record(request.run, "curate", {"base_path": base, **read_json(mix / "manifest.json")})
    show_curation(request.run, console)
    summary = read_json(mix / "summary.json")["details"]
    console.result({"run": str(request.run), "mix": str(mix), **summary})


@contextmanager
def prepared(request: CurateRequest, console: Console) -> Iterator[Curation]:
    """Everything that a curation needs, with the predictor last: loading it takes longest."""
    bare = described(request, console)
    predictor = request.engine.build()
    try:
        yield replace(bare, predictor=predictor)
    finally:
        close(predictor)


def described(request: CurateRequest, console: Console) -> Curation:
    """A curation without its predictor.

    Raises:
        OnedayError: an option, a path or a source cannot be used.
    """
    if not request.tasks:
        raise TaskError("--tasks is missing. Give a folder of NI task files, or JSON lines of your own.")
    parameters = curation_parameters(request)
    own = [path for path in request.tasks if path.suffix in SUFFIXES]
    tasks = [path for path in request.tasks if path.suffix not in SUFFIXES]
    if tasks:
        task_paths(tasks)
    targets = mix_targets(parameters.mix, parameters.scale, parameters.without)
    given = named(request.sources, "--source")
    if request.hub:
        os.environ["HF_HUB_OFFLINE"] = "0"
    sources = locate(
        targets, near=tasks or [p.parent for p in own], given=given, hub=request.hub, resolve=_resolver(request)
    )
    suites = {name: Path(path) for name, path in named(request.against, "--against").items()}
    for name, path in suites.items():
        if not path.is_file():
            raise SourceError(f"--against {name}={path}: no such file. Give JSON lines of the suite's questions.")
    request.engine.check_inner()
    if request.engine.base is not None:
        check_model_folder(request.engine.base)
    if own:
        with locked(request.run):
            stage = own_stage(request.run, own, seed=parameters.seed, redo=request.redo)
        tasks.append(stage.path(OWN_TASKS))
        rows = stage.summary().tallies["row"]
        left = ", ".join(f"{n} {reason}" for reason, n in rows.dropped.items()) or "none"
        console.say(f"own data: {rows.kept} rows to ask; left out: {left}")
    return Curation(
        run=request.run,
        tasks=tuple(tasks),
        predictor=_NoPredictor(),
        parameters=parameters,
        sources=sources,
        suites=suites,
        tokenizer=tokenizer_of(request, parameters),
        workers=request.workers or default_workers(),
        redo=request.redo,
        on_progress=console.progress,
    )


def _resolver(request: CurateRequest) -> Callable[[str, str | None], str]:
    """Asks the hub for a commit, but once for a run: a branch that moves on must not bar its resume."""
    path = request.run / SAMPLES / INPUTS
    stored = read_json(path)["sources"] if path.is_file() and not request.redo else {}
    commits = {located["from"]: str(located["revision"]) for located in stored.values() if "from" in located}
    defaults = {source.revision for source in SOURCES.values()}

    def resolve(dataset: str, revision: str | None) -> str:
        if dataset in commits and revision in {None, commits[dataset], *defaults}:
            return commits[dataset]
        return resolve_on_hub(dataset, revision)

    return resolve


class _NoPredictor:
    """Stands where nothing is asked."""

    in_flight = 1
    keeps_answers = False
    revision = "none"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Nothing is asked."""
        raise AssertionError

    def complete(self, requests: Sequence[Any]) -> Sequence[Any]:
        """Nothing is asked."""
        raise AssertionError


def tokenizer_of(request: CurateRequest, parameters: CurationParameters) -> Path | None:
    """The file that tokens are counted with: as given, the base's, or Mistral-7B-v0.1's.

    `--tokenizer none` counts no tokens; a preset that bounds rows by tokens then needs another bound.
    """
    if request.tokenizer == "none":
        if parameters.policies.max_tokens is not None:
            raise MixError("--tokenizer none, but rows are bounded by tokens. Add --set policies.max_tokens=none.")
        return None
    if request.tokenizer is not None and request.tokenizer != MISTRAL_7B:
        return TokenCounter.load(Path(request.tokenizer)).path
    if request.tokenizer is None and request.engine.base is not None:
        return TokenCounter.load(request.engine.base).path
    return TokenCounter.mistral_7b().path


def curation_parameters(request: CurateRequest) -> CurationParameters:
    """The preset, with what was said otherwise.

    Raises:
        OnedayError: a value is none of its choices.
    """
    p = reseeded(preset(request.preset), request.seed)
    settings = dict(pair(text, "--set", "policies.max_tokens=1024") for text in request.settings)
    p = with_settings(p, settings)
    p = replace(p, scores=_scores(request, p))
    if request.licences is not None:
        policy = choice(LicencePolicy, request.licences, "--licences")
        p = replace(p, rules=replace(p.rules, licences=policy), policies=replace(p.policies, licences=policy))
    if request.retain is not None:
        p = replace(p, samples=replace(p.samples, retain_share=request.retain))
    if request.shots is not None:
        p = replace(p, prompts=replace(p.prompts, max_shots=request.shots))
    without = request.without or ""
    return replace(
        p,
        mix=request.mix or p.mix,
        scale=request.scale if request.scale is not None else p.scale,
        without=frozenset(name.strip() for name in without.split(",") if name.strip()),
        instances_per_task=request.instances_per_task,
        task_list=tuple(read_task_list(request.task_list)) if request.task_list else None,
        kinds=read_kind_overrides(request.kinds) if request.kinds else {},
        adaptive=AdaptiveParameters() if request.adaptive else None,
        fit=_fit(request),
    )


def _scores(request: CurateRequest, p: CurationParameters) -> Any:
    scores = p.scores
    if request.normaliser is not None:
        scores = replace(scores, normaliser=choice(Normaliser, request.normaliser, "--normaliser"))
    if request.rouge is not None:
        scores = replace(scores, **_rouge(request.rouge))
    if request.empty is not None:
        scores = replace(scores, empty=choice(EmptyRule, request.empty, "--empty"))
    return scores


def _rouge(name: str) -> dict[str, Any]:
    """`--rouge rouge` takes the preprocessing along that the winner gave that package."""
    rouge = choice(Rouge, name, "--rouge")
    return {"rouge": rouge, "rouge_text": RougeText.CLEANED if rouge is Rouge.ROUGE else RougeText.RAW}


def _fit(request: CurateRequest) -> FitParameters | None:
    if request.fit is None:
        if request.tokens_per_s is not None:
            raise MixError("--tokens-per-s without --fit. Say what is to be filled: --fit 24h.")
        return None
    if request.adaptive:
        raise MixError(
            "--fit with --adaptive: asking would stop at a quota that --fit has yet to choose. Leave one out."
        )
    if request.tokens_per_s is None:
        raise MixError("--fit needs --tokens-per-s: what the card trains, as a rehearsal or a trial run measured it.")
    return FitParameters(budget_s=seconds(request.fit), tokens_per_s=request.tokens_per_s, share=request.train_share)


def precision_of(name: str | None) -> Precision | None:
    """A precision by its name.

    Raises:
        PredictionError: unknown.
    """
    known: tuple[Precision, ...] = get_args(Precision)
    for precision in known:
        if precision == name:
            return precision
    if name is not None:
        raise PredictionError(f"--precision {name}: unknown. Use {', '.join(known)}.")
    return None


def choice(kind: type[Choice], value: str, option: str) -> Choice:
    """A member of a closed set.

    Raises:
        OnedayError: another value.
    """
    if value not in list(kind):
        raise OnedayError(f"{option} {value}: unknown. Use {' or '.join(kind)}.")
    return kind(value)


def pair(text: str, option: str, example: str) -> tuple[str, str]:
    """`NAME=VALUE`."""
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise OnedayError(f"{option} {text}: not NAME=VALUE. For example {option} {example}.")
    return name, value


def named(texts: Sequence[str], option: str) -> Mapping[str, str]:
    """`NAME=FILE`, several."""
    example = "lima=lima/train.jsonl" if option == "--source" else "gsm8k=gsm8k/test.jsonl"
    return dict(pair(text, option, example) for text in texts)


def show_curation(run: Path, console: Console) -> None:
    """The closing tables of a curated run."""
    console.stages(run, STAGES)
    tasks = read_json(run / TASKS / "summary.json")["details"]
    scores = read_json(run / SCORES / "summary.json")["details"]
    mix = read_json(run / MIX / "summary.json")["details"]
    kinds = ", ".join(f"{n} {kind}" for kind, n in tasks["kinds"].items())
    console.say(f"tasks: {kinds}; listed without a file: {len(tasks['listed_without_file'])}")
    for name in tasks["overrides_without_file"]:
        console.say(f"note: --kinds names {name}, which is no task here")
    if tasks["non_commercial"]:
        console.say(f"note: {len(tasks['non_commercial'])} tasks taken are non-commercial by their licence")
    console.say(f"exact-match tasks by accuracy bucket (0 = below 10 %): {scores['exact_match_tasks_by_bucket']}")
    console.say(
        f"generation instances by ROUGE-L bucket ([0,.2) [.2,.3) ... >=.8): {scores['generation_instances_by_bucket']}"
    )
    _show_licence_cost(run, console)
    for short in mix["shortfalls"]:
        console.say(f"note: {short['text']}")
    for suite, num in read_json(run / SAMPLES / "summary.json")["details"]["suites_unchecked"].items():
        if num:
            console.say(
                f"note: {num:,} texts of {suite} are shorter than {LEAST_WORDS} words: no row is compared with them"
            )
    if mix["fit"]:
        show_fit(mix["fit"], console)
    tokens = f", {mix['tokens']:,} tokens" if mix["tokens"] else ""
    console.say(
        f"mix: {mix['train_rows']} rows to train on, {mix['validation_rows']} to validate{tokens}, in {run / MIX}; "
        f"look at {run / MIX / 'report.html'}"
    )


def _show_licence_cost(run: Path, console: Console) -> None:
    """What refusing licences costs, LIMA included."""
    tasks = read_json(run / TASKS / "summary.json")["tallies"]["task"]["dropped"]
    lost = read_json(run / SAMPLES / "summary.json")["details"]["lost"]
    num_tasks = tasks.get("non_commercial", 0) + tasks.get("unknown_licence", 0)
    rows = {s: r.get("non_commercial", 0) + r.get("unknown_licence", 0) for s, r in lost.items()}
    rows = {source: n for source, n in rows.items() if n}
    if num_tasks or rows:
        told = ", ".join(f"{n:,} rows of {source}" for source, n in rows.items())
        parts = [f"{num_tasks} tasks"] * (num_tasks > 0) + [told] * bool(told)
        console.say(f"licences: refusing non-commercial ones costs {', '.join(parts)}; --licences all takes them")


def show_fit(fit: Mapping[str, Any], console: Console) -> None:
    """What was chosen to fill the budget, and where the paper's mixes would end."""
    rows = [
        ("this mix", str(fit["epochs"]), f"{sum(fit['targets'].values()):,}", pretty(fit["seconds"])),
        *((e["mix"], str(e["epochs"]), f"{e['rows']:,}", pretty(e["seconds"])) for e in fit["paper"]),
    ]
    console.table("fit to the budget", ("mix", "epochs", "rows at hand", "training ends after"), rows)
    if not fit["fills"]:
        console.say("note: the sources hold too little to fill the budget; give more --source or --tasks")


def run_score(path: Path, *, rouge: str, empty: str, normaliser: str, console: Console) -> None:
    """Scores a file of predictions and shows its buckets."""
    p = preset("recommended")
    parameters = replace(
        p.scores,
        **_rouge(rouge),
        empty=choice(EmptyRule, empty, "--empty"),
        normaliser=choice(Normaliser, normaliser, "--normaliser"),
    )
    rouge_l = rouge_l_scorer(parameters)
    scores = sorted((score(q, parameters, rouge_l) for q in read_predictions(path)), key=lambda s: (s.task, s.kind))
    buckets = bucket_tasks(scores, p.buckets)
    if not buckets:
        raise PredictionError(f"{path}: no prediction in it. Each line holds task, id, references, prediction.")
    columns = ("task", "n", "mean", "[0,.2)", "[.2,.3)", "[.3,.4)", "[.4,.5)", "[.5,.6)", "[.6,.7)", "[.7,.8)", ">=.8")
    rows = [(b.task, str(b.num_scores), f"{b.mean_score:.3f}", *map(str, b.histogram)) for b in buckets]
    console.table(f"{parameters.rouge}, empty prediction: {parameters.empty}", columns, rows)
    totals: dict[str, list[int]] = {}
    for b in buckets:  # a task may occur with both kinds
        before = totals.get(b.task, [0] * len(b.histogram))
        totals[b.task] = [x + y for x, y in zip(before, b.histogram, strict=True)]
    console.result({"buckets": totals})


def run_check(path: Path, console: Console) -> None:
    """Lists every problem of task files and own data.

    Raises:
        TaskError: there is one.
    """
    files = list(check(path))
    problems = [problem for file in files for problem in file.problems]
    for problem in problems:
        console.out.print(str(problem), markup=False, soft_wrap=True)
    num_records = sum(file.num_records for file in files)
    console.say(f"{len(files)} files, {num_records:,} records, {len(problems)} problems")
    console.result({"files": len(files), "records": num_records, "problems": [str(p) for p in problems]})
    if problems:
        raise TaskError(
            f"{path}: {len(problems)} problems, listed above. Mend them, or let curate leave those rows out."
        )


def run_verify(run: Path, console: Console) -> None:
    """Recomputes every hash of a run.

    Raises:
        StageError: one does not agree.
    """
    results = list(verify(run))
    bad = [r for r in results if not r.is_fine]
    for r in bad:
        console.out.print(f"{r.what}: {r.detail}", markup=False, soft_wrap=True)
    console.say(f"{len(results)} checks, {len(bad)} failed")
    console.result({"checks": len(results), "failed": [r.what for r in bad]})
    if bad:
        raise StageError(
            f"{run}: {len(bad)} of {len(results)} checks failed, listed above. Restore the files, or --redo."
        )


def run_diff(request: CurateRequest, other: str, console: Console) -> None:
    """The choices in which two presets differ; on a finished run, the rows that each changes."""
    mine, theirs = curation_parameters(request), reseeded(preset(other), request.seed)
    theirs = replace(
        theirs,
        **{
            n: getattr(mine, n)
            for n in ("mix", "scale", "without", "instances_per_task", "task_list", "kinds", "adaptive", "fit")
        },
    )
    found = differences(mine, theirs)
    is_finished = (request.run / MIX / "done.json").is_file()
    changes: dict[str, Change] = {}
    if is_finished:
        curation = described(request, console)
        _refuse_other_parameters(request.run, curation)
        for change in Alternatives(curation).changes(theirs):
            console.progress("what if", len(changes) + 1, len(found))
            changes[change.what] = change
    _show_differences(found, changes, request.preset, other, console)
    if not is_finished:
        console.say(f"rows are told once {request.run} is finished with --preset {request.preset}")
    console.result(
        {
            "differences": [asdict(d) for d in found],
            "rows_changed": {key: change.num_rows for key, change in changes.items()},
        }
    )


def _refuse_other_parameters(run: Path, curation: Curation) -> None:
    stored = read_json(run / MIX / "manifest.json")["parameters"]
    mine = curation.parameters.fingerprint()
    differ = [key for key in mine if read_back(mine[key]) != stored.get(key)]
    if differ:
        raise StageError(
            f"{run}: was made with other {', '.join(differ)}. Give the options it was made with, or another --run."
        )


def read_back(value: Any) -> Any:
    """A value as JSON gives it back."""
    import orjson

    return orjson.loads(orjson.dumps(value))


def _show_differences(
    found: Sequence[Difference], changes: Mapping[str, Change], a: str, b: str, console: Console
) -> None:
    rows = []
    for d in found:
        change = changes.get(d.key)
        told = "" if change is None else (change.note if change.num_rows is None else f"{change.num_rows:,}")
        rows.append((d.key, _short(d.a), _short(d.b), told, d.why))
    console.table(f"{len(found)} choices differ", ("choice", a, b, "rows changed", "why recommended differs"), rows)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def run_stability(request: CurateRequest, console: Console) -> None:
    """Which tasks change bucket, and how many rows the mix, under another score or seed."""
    if (request.run / MIX / "done.json").is_file() and (request.tasks or not request.engine.predictions):
        curation = described(request, console)
        _refuse_other_parameters(request.run, curation)
        alternatives = Alternatives(curation)
        total = sum(read_json(request.run / SAMPLES / "summary.json")["details"]["drawn"].values())
        changes = [alternatives.change(what, p) for what, p in variants(curation.parameters)]
    elif request.engine.predictions:
        p, total = curation_parameters(request), 0
        changes = [c for path in request.engine.predictions for c in stored_changes(path, p.scores, p.buckets)]
    else:
        raise StageError(
            f"{request.run}: not finished, and no --predictions. Give a finished --run or --predictions FILE."
        )
    rows = [
        (
            c.what,
            str(len(c.moved_tasks)),
            f"{c.moved_share:.1%}",
            "-" if c.num_rows is None or not total else f"{c.num_rows:,} ({c.num_rows / total:.1%})",
            c.note or ", ".join(c.moved_tasks[:3]) + (" …" if len(c.moved_tasks) > 3 else ""),
        )
        for c in changes
    ]
    columns = ("instead of this run's choice", "tasks moved", "answers moved", "rows differ", "which")
    console.table("stability: exact-match tasks and generated answers in another bucket", columns, rows)
    console.result({"rows": total, "changes": [asdict(c) for c in changes]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What an engine does and costs, as far as it is known."""

    prompts_per_s: float | None
    per_million_tokens: str | None
    per_hour: float | None


def run_dry(request: CurateRequest, prices: Prices, console: Console) -> None:
    """Prompts, tokens, time and cost, before anything is spent."""
    curation = described(request, console)
    assert curation.tokenizer is None or curation.tokenizer.is_file()
    counter = TokenCounter.load(curation.tokenizer) if curation.tokenizer else TokenCounter.mistral_7b()
    found = estimate(curation, counter)
    rate, whence = prices.prompts_per_s, "as given"
    if rate is None and request.engine.name == "transformers":
        console.say(f"timing {len(found.sample)} prompts with {request.engine.base}")
        rate, whence = _timed(request.engine.build(), found), f"measured on {len(found.sample)} prompts of this job"
    hours = found.num_prompts / rate / 3600 if rate else None
    rows = [
        ("tasks", f"{len(found.tasks):,}", ""),
        ("prompts", f"{found.num_prompts:,}", "exact"),
        ("prompt tokens", f"{found.prompt_tokens:,}", f"estimated with {counter.path.name}"),
        ("of these read, with the shots of a task read once", f"{found.read_tokens:,}", "once per 128 prompts"),
        ("new tokens", f"{found.most_new_tokens:,}", "at most"),
    ]
    if rate and hours is not None:
        rows.append(("prompts per second", f"{rate:,.1f}", whence))
        rows.append(("time", pretty(hours * 3600), ""))
    else:
        rows.append(("time", "unknown", "give --prompts-per-s; a trial with --instances-per-task 5 shows it"))
    cost = _cost(found, hours, prices)
    rows.append(
        ("cost", "unknown" if cost is None else f"{cost:,.2f}", "--price-per-hour or --price-per-million-tokens")
    )
    if curation.parameters.adaptive:
        rows.append(("with --adaptive", "less", "how much depends on the answers"))
    console.table("before anything is asked", ("what", "amount", ""), rows)
    console.result(
        {
            "prompts": found.num_prompts,
            "prompt_tokens": found.prompt_tokens,
            "read_tokens": found.read_tokens,
            "most_new_tokens": found.most_new_tokens,
            "prompts_per_s": rate,
            "hours": hours,
            "cost": cost,
        }
    )


def _timed(predictor: Predictor, found: Estimate) -> float:
    """Prompts per second; the first pass, which warms up, is not counted."""
    fitting = [r for r in found.sample if predictor.fits(r.prompt, r.max_new_tokens)]
    if not fitting:
        raise PredictionError("no sampled prompt fits into the model's context. Pass --shots 0, or another base.")
    predictor.complete(fitting[:4])
    start = time.monotonic()
    predictor.complete(fitting)
    elapsed = time.monotonic() - start
    close(predictor)
    return len(fitting) / elapsed


def _cost(found: Estimate, hours: float | None, prices: Prices) -> float | None:
    if prices.per_million_tokens is not None:
        try:
            given = [float(x) for x in prices.per_million_tokens.split(",")]
        except ValueError:
            given = []
        if len(given) not in (1, 2):
            raise PredictionError(
                f"--price-per-million-tokens {prices.per_million_tokens}: give IN or IN,OUT, for example 0.1,0.3."
            )
        return (found.prompt_tokens * given[0] + found.most_new_tokens * given[-1]) / 1e6
    if prices.per_hour is not None and hours is not None:
        return hours * prices.per_hour
    return None
