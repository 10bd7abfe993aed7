"""`oneday curate` and its modes: from options to parameters, from results to tables."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args

from core.errors import MixError, OnedayError, PredictionError, SourceError, TaskError
from core.files import read_as, read_json
from core.generation.engine import Engine, close
from core.generation.none import NoPredictor
from core.manifest import record
from core.model.folder import check_model_folder
from core.model.quantisation import Precision
from core.model.token_counter import MISTRAL_7B, TokenCounter
from core.run_folder import SAMPLES
from core.score import EmptyRule, Normaliser, Rouge, RougeText
from core.stage import INPUTS, locked
from core.workers import default_workers
from curation.curate import curate
from curation.fit import USUAL_SHARE, FitParameters
from curation.ni.adaptive import AdaptiveParameters
from curation.ni.select import read_kind_overrides, read_task_list
from curation.ni.task import task_paths
from curation.policies.licence import LicencePolicy
from curation.preset import CurationParameters, preset, reseeded, with_settings
from curation.sources.own_data import OWN_TASKS, SUFFIXES, own_stage
from curation.sources.record import resolve_on_hub
from curation.sources.source import SOURCES, Located, locate, mix_targets
from curation.stages.context import Curation, asks_anything
from harness.budget.duration import seconds
from oneday.commands.curation_call import curation_call
from oneday.display.console import Console
from oneday.display.curation_tables import show_curation

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
    take_all: bool
    own_share: float | None
    shots: int | None
    adaptive: bool
    fit: str | None
    tokens_per_s: float | None
    train_share: float | None
    workers: int | None
    seed: int
    redo: bool


def default_run(mix: str | None, tasks: Sequence[Path]) -> Path:
    """Named after the mix; without one after the first file of own rows, or `ni`."""
    own = [path.stem for path in tasks if path.suffix in SUFFIXES]
    return Path("runs") / (mix or (own[0] if own else "ni"))


def run_curate(request: CurateRequest, console: Console) -> None:
    """Checks everything that is cheap, then loads the model, then works."""
    with prepared(request, console) as curation:
        mix = curate(curation)
    base = str(request.engine.base.resolve()) if request.engine.base else None
    call = curation_call(curation, request.engine)
    record(request.run, "curate", {"base_path": base, "call": call, **read_json(mix / "manifest.json")})
    show_curation(request.run, console)
    summary = read_json(mix / "summary.json")["details"]
    console.result({"run": str(request.run), "mix": str(mix), **summary})


@contextmanager
def prepared(request: CurateRequest, console: Console) -> Iterator[Curation]:
    """Everything that a curation needs, with the predictor last: loading it takes longest."""
    bare = described(request, console)
    if not asks_anything(bare):
        console.say("nothing is asked: every row of your own is taken")
        yield bare
        return
    predictor = request.engine.build()
    try:
        yield replace(bare, predictor=predictor)
    finally:
        close(predictor)


def described(request: CurateRequest, console: Console, *, scratch: Path | None = None) -> Curation:
    """A curation without its predictor.

    Args:
        scratch: Where own data is made into tasks, if the run folder is to stay as it is.

    Raises:
        OnedayError: an option, a path or a source cannot be used.
    """
    if not request.tasks:
        raise TaskError("--tasks is missing. Give a folder of NI task files, or JSON lines of your own.")
    parameters = curation_parameters(request)
    own = [path for path in request.tasks if path.suffix in SUFFIXES]
    tasks = [path for path in request.tasks if path.suffix not in SUFFIXES]
    _check_own(request, parameters, own, tasks)
    if tasks:
        task_paths(tasks)
    sources = _sources(request, parameters, near=tasks or [path.parent for path in own])
    suites = {name: Path(path) for name, path in named(request.against, "--against").items()}
    for name, path in suites.items():
        if not path.is_file():
            raise SourceError(f"--against {name}={path}: no such file. Give JSON lines of the suite's questions.")
    request.engine.check_inner()
    if request.engine.base is not None:
        check_model_folder(request.engine.base)
    if own:
        tasks.append(_own_tasks(request, parameters, own, scratch, console))
    return Curation(
        run=request.run,
        tasks=tuple(tasks),
        predictor=NoPredictor(),
        parameters=parameters,
        sources=sources,
        suites=suites,
        tokenizer=tokenizer_of(request, parameters),
        workers=request.workers or default_workers(),
        redo=request.redo,
        on_progress=console.progress,
    )


def _check_own(
    request: CurateRequest, parameters: CurationParameters, own: Sequence[Path], tasks: Sequence[Path]
) -> None:
    """Refuses choices about the user's own rows that cannot be met."""
    for option, is_given in (
        ("--take-all", parameters.samples.take_all),
        ("--own-share", parameters.samples.own_share is not None),
    ):
        if is_given and not own:
            raise MixError(
                f"{option}: no rows of your own in --tasks. Give JSON lines, for example --tasks mine.jsonl."
            )
    if parameters.samples.own_share is not None:
        if not tasks and parameters.mix is None and not request.sources:
            raise MixError(
                f"--own-share {parameters.samples.own_share:g}: nothing to mix your rows with. Give NI tasks too: "
                "--tasks natural-instructions/tasks."
            )
        if parameters.fit is not None:
            raise MixError("--own-share with --fit: both say how many rows the others give. Leave one out.")


def _sources(request: CurateRequest, parameters: CurationParameters, *, near: Sequence[Path]) -> dict[str, Located]:
    """Those that a paper's mix wants, or that were named."""
    given = named(request.sources, "--source")
    if request.hub:
        if parameters.mix is None and not given:
            raise SourceError("--hub: no mix asks for a source. Say which one: --mix 200k, or --source NAME=hub.")
        os.environ["HF_HUB_OFFLINE"] = "0"
    stray = sorted(set(given) - set(SOURCES))
    if stray:
        raise SourceError(f"--source {stray[0]}: not a source of a mix. Use {', '.join(SOURCES)}.")
    targets = mix_targets(parameters.mix, parameters.scale, parameters.without, given)
    return locate(targets, near=near, given=given, hub=request.hub, resolve=_resolver(request))


def _own_tasks(
    request: CurateRequest, parameters: CurationParameters, own: Sequence[Path], scratch: Path | None, console: Console
) -> Path:
    """The user's own rows as a folder of tasks."""
    alone = locked(request.run) if scratch is None else nullcontext()
    with alone:
        stage = own_stage(
            scratch or request.run, own,
            seed=parameters.seed, redo=request.redo, take_all=parameters.samples.take_all,
        )  # fmt: skip
    rows = stage.summary().tallies["row"]
    left = ", ".join(f"{n} {reason}" for reason, n in rows.dropped.items()) or "none"
    console.say(f"own data: {rows.kept} rows to {'take' if parameters.samples.take_all else 'ask'}; left out: {left}")
    return stage.path(OWN_TASKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What of the samples' inputs tells where sources were had from."""

    sources: Mapping[str, Mapping[str, str]]


def _resolver(request: CurateRequest) -> Callable[[str, str | None], str]:
    """Asks the hub for a commit, but once for a run: a branch that moves on must not bar its resume."""
    path = request.run / SAMPLES / INPUTS
    stored = read_as(_Made, path).sources if path.is_file() and not request.redo else {}
    commits = {
        located["from"]: located["revision"] for located in stored.values() if {"from", "revision"} <= set(located)
    }
    defaults = {source.revision for source in SOURCES.values()}

    def resolve(dataset: str, revision: str | None) -> str:
        if dataset in commits and revision in {None, commits[dataset], *defaults}:
            return commits[dataset]
        return resolve_on_hub(dataset, revision)

    return resolve


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
    p = with_settings(replace(p, adaptive=AdaptiveParameters() if request.adaptive else None), settings)
    p = replace(p, scores=_scores(request, p))
    if request.licences is not None:
        policy = choice(LicencePolicy, request.licences, "--licences")
        p = replace(p, rules=replace(p.rules, licences=policy), policies=replace(p.policies, licences=policy))
    if request.retain is not None:
        p = replace(p, samples=replace(p.samples, retain_share=request.retain))
    if request.take_all:
        p = replace(p, samples=replace(p.samples, take_all=True))
    if request.own_share is not None:
        p = replace(p, samples=replace(p.samples, own_share=request.own_share))
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
        fit=_fit(request),
    )


def _scores(request: CurateRequest, p: CurationParameters) -> Any:
    scores = p.scores
    if request.normaliser is not None:
        scores = replace(scores, normaliser=choice(Normaliser, request.normaliser, "--normaliser"))
    if request.rouge is not None:
        scores = replace(scores, **rouge_choices(request.rouge))
    if request.empty is not None:
        scores = replace(scores, empty=choice(EmptyRule, request.empty, "--empty"))
    return scores


def rouge_choices(name: str) -> dict[str, Any]:
    """`--rouge rouge` takes the preprocessing along that the winner gave that package."""
    rouge = choice(Rouge, name, "--rouge")
    return {"rouge": rouge, "rouge_text": RougeText.CLEANED if rouge is Rouge.ROUGE else RougeText.RAW}


def _fit(request: CurateRequest) -> FitParameters | None:
    if request.fit is None:
        for option, value in (("--tokens-per-s", request.tokens_per_s), ("--train-share", request.train_share)):
            if value is not None:
                raise MixError(f"{option} without --fit. Say what is to be filled: --fit 24h.")
        return None
    if request.adaptive:
        raise MixError(
            "--fit with --adaptive: asking would stop at a quota that --fit has yet to choose. Leave one out."
        )
    if request.tokens_per_s is None:
        raise MixError("--fit needs --tokens-per-s: what the card trains, as a rehearsal or a trial run measured it.")
    share = USUAL_SHARE if request.train_share is None else request.train_share
    return FitParameters(budget_s=seconds(request.fit, option="--fit"), tokens_per_s=request.tokens_per_s, share=share)


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
