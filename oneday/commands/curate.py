"""`oneday curate`: makes parameters of the options, curates, and shows the result."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from core.errors import MixError, OnedayError, SourceError, TaskError
from core.example.language import known_code, language_name
from core.example.reading import layout_named
from core.files import read_as, read_json
from core.generation.engine import close
from core.generation.none import NoPredictor
from core.manifest import record
from core.model.folder import check_model_folder
from core.model.token_counter import MISTRAL_7B, TokenCounter
from core.run_folder import SAMPLES
from core.score import Rouge, RougeText
from core.stage import INPUTS, locked
from core.workers import default_workers
from curation.asking.adaptive import AdaptiveParameters
from curation.curate import curate
from curation.fit import USUAL_SHARE, FitParameters
from curation.ni.select import read_kind_overrides, read_task_list
from curation.ni.task import task_paths
from curation.policies.learnable import read_probe_losses
from curation.preset import CurationParameters, preset, reseeded, with_settings
from curation.sample import Quota
from curation.sources.own_data import OWN_TASKS, is_own, own_file_name, own_stage
from curation.sources.record import records, resolve_on_hub
from curation.sources.source import SOURCES, Located, locate, mix_targets
from curation.stages.context import Curation, asks_anything
from harness.budget.duration import seconds
from harness.data.share import parse_share
from oneday.commands.engine import engine_of
from oneday.display.console import Console
from oneday.display.curation_tables import show_curation
from oneday.requests.curation import CheckRequest, CurateRequest, CurationRequest
from oneday.requests.curation_call import curation_call
from oneday.requests.request import Request, request_fields


def run_curate(request: CurateRequest, console: Console) -> None:
    """Checks the options and files, then loads the model and curates."""
    with prepared(request, console) as curation:
        mix = curate(curation)
    run, base = run_folder(request), str(request.base.resolve()) if request.base else None
    call = curation_call(curation, engine_of(request))
    record(run, "curate", {"base_path": base, "call": call, **read_json(mix / "manifest.json")})
    show_curation(run, console)
    summary = read_json(mix / "summary.json")["details"]
    console.result({"run": str(run), "mix": str(mix), **summary})


def run_folder(request: CurationRequest) -> Path:
    """The folder that the user gave, else one named after the mix, the first file of own rows, or `ni`."""
    own = [own_file_name(path) for path in request.tasks if is_own(path)]
    return request.run or Path("runs") / (request.mix or (own[0] if own else "ni"))


@contextmanager
def prepared(request: CurationRequest, console: Console) -> Iterator[Curation]:
    """A curation with its predictor, which is built last because loading takes longest."""
    curation = described(request, console)
    if not asks_anything(curation):
        console.say("the base makes no predictions: every row of your own is kept")
        yield curation
        return
    predictor = engine_of(request).build()
    try:
        yield replace(curation, predictor=predictor)
    finally:
        close(predictor)


def described(
    request: CurationRequest, console: Console, *, scratch: Path | None = None, has_engine: bool = True
) -> Curation:
    """A curation without its predictor.

    Args:
        scratch: Folder for the tasks of own data, if the run folder must not be changed.
        has_engine: Whether the options of the engine have to be complete.

    Raises:
        OnedayError: An option, a path or a source cannot be used.
    """
    if not request.tasks:
        raise TaskError("`tasks=` is missing. Give a folder of NI task files, or JSON lines of your own.")
    parameters = curation_parameters(request)
    own = [path for path in request.tasks if is_own(path)]
    tasks = [path for path in request.tasks if path not in own]
    _check_own(request, parameters, own, tasks)
    if tasks:
        task_paths(tasks)
    sources = _sources(request, parameters, near=tasks or [path.parent for path in own])
    suites = {name: Path(path) for name, path in named(request.against, "against").items()}
    for name, path in suites.items():
        if not path.is_file():
            raise SourceError(f"`against={name}={path}`: no such file. Give JSON lines of the suite's questions.")
    if has_engine:
        engine_of(request).check_inner()
    if request.base is not None:
        check_model_folder(request.base)
    if own:
        tasks.append(_own_tasks(request, parameters, own, scratch, console))
    return Curation(
        run=run_folder(request),
        tasks=tuple(tasks),
        predictor=NoPredictor(),
        parameters=parameters,
        sources=sources,
        suites=suites,
        tokenizer=tokenizer_of(request, parameters),
        probe_losses=_probe_losses(request),
        workers=request.workers or default_workers(),
        redo=request.redo,
        on_progress=console.progress,
        within_s=within_s(request, parameters),
        load=partial(records, asks_hub=True) if request.hub else None,
    )


def _probe_losses(request: CurationRequest) -> Path | None:
    """The file, every line of it checked before anything is asked."""
    path = request.probe_losses
    if path is not None and sum(1 for _ in read_probe_losses(path)) == 0:
        raise MixError(f"`probe_losses={path}`: the file holds no row. `oneday curate losses` writes one.")
    return path


def _check_own(
    request: CurationRequest, parameters: CurationParameters, own: Sequence[Path], tasks: Sequence[Path]
) -> None:
    """Refuses options about the user's own rows that cannot be satisfied."""
    share = parameters.samples.own_share
    for field, is_given in (
        ("`add=`", bool(parameters.samples.add)),
        ("`take_all=true`", parameters.samples.take_all),
        ("`own_share=`", share is not None),
    ):
        if is_given and not own:
            raise MixError(
                f"{field}: no rows of your own in `tasks=`. Give JSON lines, for example `tasks=mine.jsonl`."
            )
    if parameters.samples.add:
        if parameters.fit is not None:
            raise MixError("`add=` with `fit=`: both determine the number of other rows. Leave one out.")
        if request.tokenizer == "none":
            raise MixError("`add=` counts tokens: `tokenizer=none` cannot be. Give the base's folder.")
    if share is not None:
        if not tasks and parameters.mix is None and not request.source:
            raise MixError(
                f"`own_share={share:g}`: nothing to mix your rows with. Give NI tasks too: "
                "`tasks=natural-instructions/tasks`."
            )
        if parameters.fit is not None:
            raise MixError("`own_share=` with `fit=`: both determine the number of other rows. Leave one out.")


def _sources(request: CurationRequest, parameters: CurationParameters, *, near: Sequence[Path]) -> dict[str, Located]:
    """The sources of the paper's mix, and the named ones."""
    given = named(request.source, "source")
    if request.hub and parameters.mix is None and not given:
        raise SourceError("`hub=true`: no source is requested. Give `mix=200k`, or `source=NAME=hub`.")
    unknown = sorted(set(given) - set(SOURCES))
    if unknown:
        raise SourceError(f"`source={unknown[0]}`: not a source of a mix. Use {', '.join(SOURCES)}.")
    targets = mix_targets(parameters.mix, parameters.scale, parameters.without, given)
    return locate(targets, near=near, given=given, hub=request.hub, resolve=_resolver(request))


def _own_tasks(
    request: CurationRequest,
    parameters: CurationParameters,
    own: Sequence[Path],
    scratch: Path | None,
    console: Console,
) -> Path:
    """The folder of tasks that is made of the user's own rows."""
    lock = locked(run_folder(request)) if scratch is None else nullcontext()
    with lock:
        stage = own_stage(
            scratch or run_folder(request), own,
            seed=parameters.seed, redo=request.redo, take_all=parameters.samples.take_all,
            layout=layout_named(request.layout) if request.layout else None, language=parameters.policies.language,
        )  # fmt: skip
    for line in stage.summary().details["told"]:
        console.say(line)
    rows = stage.summary().tallies["row"]
    dropped = ", ".join(f"{n} {reason}" for reason, n in rows.dropped.items()) or "none"
    purpose = "all are kept" if parameters.samples.take_all else "the base answers them first"
    console.say(f"own data: {rows.kept} rows ({purpose}); left out: {dropped}")
    return stage.path(OWN_TASKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SampleInputs:
    """The part of the inputs of `04_samples` that records the places of sources."""

    sources: Mapping[str, Mapping[str, str]]


def _resolver(request: CurationRequest) -> Callable[[str, str | None], str]:
    """A function that asks the hub for the commit of a source, but only once for a run, so that a resume uses it."""
    path = run_folder(request) / SAMPLES / INPUTS
    stored = read_as(_SampleInputs, path).sources if path.is_file() and not request.redo else {}
    commits = {
        located["from"]: located["revision"] for located in stored.values() if {"from", "revision"} <= set(located)
    }
    defaults = {source.revision for source in SOURCES.values()}

    def resolve(dataset: str, revision: str | None) -> str:
        if dataset in commits and revision in {None, commits[dataset], *defaults}:
            return commits[dataset]
        return resolve_on_hub(dataset, revision, asks_hub=request.hub)

    return resolve


def tokenizer_of(request: CurationRequest | CheckRequest, parameters: CurationParameters) -> Path | None:
    """The file of the tokenizer that counts tokens: the given one, the base's, or Mistral-7B-v0.1's.

    With `none` no tokens are counted; a preset that limits the tokens of a row then needs another limit.
    """
    given, base = request.tokenizer, request.base
    if given == "none":
        if parameters.policies.max_tokens is not None:
            raise MixError("`tokenizer=none`, but the tokens of rows are limited. Add `policies.max_tokens=none`.")
        return None
    if given is not None and given != MISTRAL_7B:
        return TokenCounter.load(Path(given)).path
    if given is None and base is not None:
        return TokenCounter.load(base).path
    return TokenCounter.mistral_7b().path


def curation_parameters(request: CurationRequest) -> CurationParameters:
    """The preset with the changes of the options.

    Raises:
        OnedayError: A value is not allowed.
    """
    p = reseeded(preset(request.preset), request.seed)
    settings = dict(pair(text, "set", "policies.max_tokens=1024") for text in request.set)
    p = replace(
        p, adaptive=AdaptiveParameters() if request.adaptive or request.within else None, signals=request.signals
    )
    p = with_settings(with_settings(p, settings), options_of_choices(request))
    if request.add:
        p = replace(p, samples=replace(p.samples, add=dict(map(_added, request.add)), take_all=True))
    return replace(
        p,
        mix=request.mix or p.mix,
        scale=request.scale,
        without=frozenset(name.strip() for name in request.without.split(",") if name.strip()),
        instances_per_task=request.instances_per_task,
        task_list=tuple(read_task_list(request.task_list)) if request.task_list else None,
        kinds=read_kind_overrides(request.kinds) if request.kinds else {},
        fit=_fit(request),
    )


def _added(text: str) -> tuple[str, float]:
    """The name and the share of `NAME:SHARE`, as `oneday train --data` reads them."""
    name, _, number = text.rpartition(":")
    share = parse_share(number)
    if not name or share is None:
        raise MixError(f"`add={text}`: not NAME:SHARE. For example `add=ni:20%`, or `add=gsm8k:0.05`.")
    return name, share


def options_of_choices(request: Request) -> dict[str, object]:
    """The choices that have their own options: key of `CurationParameters` -> value."""
    given: dict[str, object] = {}
    for f in request_fields(type(request)):
        value = getattr(request, f.name)
        if value is not None and value is not False:
            given |= {key: value for key in f.option.sets if "." in key}
    if language := given.get("policies.language"):
        code = known_code(str(language), field="language")
        given |= {"rules.language": language_name(code), "policies.language": code}
    if given.get("scores.rouge"):  # the package `rouge` is used with the winner's preprocessing
        is_package = given["scores.rouge"] == Rouge.ROUGE
        given["scores.rouge_text"] = RougeText.CLEANED if is_package else RougeText.RAW
    return {key: value for key, value in given.items() if not key.startswith("fit.")}


def within_s(request: CurationRequest, parameters: CurationParameters) -> float | None:
    """The time limit of asking.

    Raises:
        MixError: The text is no time, or the quotas need all answers.
    """
    text = request.within
    if text is None:
        return None
    if parameters.samples.quota is not Quota.PROPORTIONAL:
        raise MixError(
            f"`within={text}`: samples.quota={parameters.samples.quota} takes a share of each task's answers, so all "
            "must be asked. Leave `within=` out, or set `samples.quota=proportional`."
        )
    if parameters.adaptive is not None and parameters.adaptive.rounds is not None:
        raise MixError(f"`within={text}` with `adaptive.rounds=`: both determine how much is asked. Leave one out.")
    if not text.endswith("%"):
        return seconds(text, field="within")
    try:
        share = float(text[:-1]) / 100
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise MixError(f"`within={text}`: not a share of the budget. Give one, for example 15%, or a time such as 3h.")
    return share * seconds(request.budget, field="budget")


def _fit(request: CurationRequest) -> FitParameters | None:
    if request.fit is None:
        for field, value in (("tokens_per_s", request.tokens_per_s), ("train_share", request.train_share)):
            if value is not None:
                raise MixError(f"`{field}=` without `fit=`. Give the budget to fill: `fit=24h`.")
        return None
    for field, is_given in (("`adaptive=true`", request.adaptive), ("`within=`", request.within is not None)):
        if is_given:
            raise MixError(
                f"`fit=` with {field}: asking would stop at a quota that `fit=` chooses later. Leave one out."
            )
    if request.tokens_per_s is None:
        raise MixError("`fit=` needs `tokens_per_s=`: the training speed that a rehearsal or a trial run measured.")
    share = USUAL_SHARE if request.train_share is None else request.train_share
    return FitParameters(budget_s=seconds(request.fit, field="fit"), tokens_per_s=request.tokens_per_s, share=share)


def pair(text: str, field: str, example: str) -> tuple[str, str]:
    """Splits `NAME=VALUE`."""
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise OnedayError(f"`{field}={text}`: not NAME=VALUE. For example `{field}={example}`.")
    return name, value


def named(texts: Sequence[str], field: str) -> Mapping[str, str]:
    """Splits several `NAME=FILE`."""
    example = "lima=lima/train.jsonl" if field == "source" else "gsm8k=gsm8k/test.jsonl"
    return dict(pair(text, field, example) for text in texts)
