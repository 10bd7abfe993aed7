"""`oneday generate`: a model's responses to a suite, resumable, within the budget of its run."""

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import click
from pydantic import TypeAdapter

from core.errors import PredictionError, StageError
from core.files import as_json, make_folder
from core.generation.answer_store import AnswerStore
from core.generation.engine import close
from core.generation.request import Responder
from core.generation.transformers import TransformersPredictor
from core.manifest import versions
from core.stage import locked, setting_differences
from evaluation.asking.generation import Asked, Generated, GenerationSettings, generate
from evaluation.responses import ResponseManifest, manifest_path, read_responses, write_responses
from evaluation.suite import Suite, Template
from evaluation.suites import load_suite, settings_of
from harness.errors import BudgetError
from oneday.bounded_process import run_within
from oneday.commands.evaluation.asked_model import AskedModel, find_asked_model, is_url
from oneday.commands.evaluation.charging import charged
from oneday.display.console import Console
from oneday.requests.evaluating import GenerateRequest

ANSWERS = "answers.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """All that decides the responses."""

    suite: Suite[Any]
    asked: AskedModel
    settings: GenerationSettings
    decides: Mapping[str, object]
    """What the manifest says of it; another value makes another file."""


def run_bounded(request: GenerateRequest, console: Console) -> None:
    """`run_generate`; for a run with budget left, in a process that is killed at the deadline.

    Raises:
        click.exceptions.Exit: with the exit code of that process.
        BudgetError: the budget ended before the last response.
    """
    work = _prepared(request, console)
    if request.dry_run:
        _show_dry_run(request, work, console)
        return
    if (stored := _finished(request, work)) is not None:
        console.say(f"{request.file}: generated already; nothing was computed")
        _report(request, stored.num_responses, stored.settings, console)
        return
    run = work.asked.run
    if run is None or is_url(request.model):
        _generate(request, work, console)
        return
    with locked(run), charged(run, "generate", console, uncharged=request.uncharged) as charge:
        if not charge.is_bounded:
            _generate(request, work, console)
            return
        runs = "oneday.commands.evaluation.generate:run_generate"
        code = run_within("generate", runs, request, deadline=charge.deadline, beat=charge.beat)
    if code is None:
        with AnswerStore(_folder(request) / ANSWERS) as store:
            num = len(store)
        raise BudgetError(
            f"{run}: its budget ended after {num} of {len(work.suite.items())} responses, which are kept. The same "
            "command with `uncharged=true` goes on outside of the budget."
        )
    if code:
        raise click.exceptions.Exit(code)


def run_generate(request: GenerateRequest, console: Console, *, deadline: float | None = None) -> None:
    """Generates what is missing, whatever it costs.

    Args:
        deadline: The process that starts this one ends it there.
    """
    _generate(request, _prepared(request, console), console)


def _prepared(request: GenerateRequest, console: Console) -> _Work:
    """Checks everything that is cheap.

    Raises:
        OnedayError: the suite, its items or the model cannot be used.
    """
    if request.file.is_dir():
        raise StageError(f"`out={request.file}`: a folder. Give a file for the responses.")
    suite = load_suite(request.suite, request.items, settings_of(request.set))
    asked = find_asked_model(
        request.model,
        base=request.base,
        precision=request.precision,
        base_changed=request.base_changed_on_purpose,
        served_model=request.served_model,
        batch_size=request.batch_size,
        fetch=None if request.dry_run else console.say,
    )
    settings = _settings(request, suite, asked)
    if settings.response_prefix and is_url(request.model) and settings.template is Template.CHAT:
        raise PredictionError(
            f"{request.model}: a server's chat cannot begin a response with {settings.response_prefix!r}. Ask with "
            "`template=plain`, or without it: `response_prefix=`, an empty text."
        )
    decides = {
        "suite": suite.name,
        "generation": settings.as_generation(asked.engine.name),
        "checkpoint": dict(asked.checkpoint),
        "precision": asked.precision,
        "batch_size": request.batch_size,
    }
    return _Work(suite=suite, asked=asked, settings=settings, decides=as_json(decides))


def _settings(request: GenerateRequest, suite: Suite[Any], asked: AskedModel) -> GenerationSettings:
    """The suite's, with what was asked for otherwise."""
    template = Template(request.template) if request.template else asked.template
    given: dict[str, Any] = {
        "max_new_tokens": request.max_new_tokens,
        "repetition_penalty": request.repetition_penalty,
        "response_prefix": request.response_prefix,
        "stop": request.stop or None,
    }
    settings = GenerationSettings.of(suite.generation(), template=template)
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def _folder(request: GenerateRequest) -> Path:
    """Where answers are kept until the file is whole."""
    return request.file.with_name(f"{request.file.name}.work")


def _finished(request: GenerateRequest, work: _Work) -> ResponseManifest | None:
    """What a finished file says; None: it is to be generated.

    Raises:
        StageError: it was generated with other settings.
        EvaluationError: it was changed since.
    """
    if request.redo or not request.file.exists():
        return None
    manifest = read_responses(request.file).manifest
    if manifest is None:
        raise StageError(
            f"{request.file}: has no manifest, so nobody knows its model. Give another `out=`, or pass `redo=true`."
        )
    before = {key: manifest.settings.get(key) for key in work.decides} | {"items": manifest.suite_sha256}
    now = {**work.decides, "items": work.suite.fingerprint()}
    if different := setting_differences(before, now):
        raise StageError(
            f"{request.file}: generated with other settings ({'; '.join(different)}). Give another `out=`, or pass "
            "`redo=true`."
        )
    return manifest


def _generate(request: GenerateRequest, work: _Work, console: Console) -> None:
    for warning in work.asked.warnings:
        console.say(f"warning: {warning}")
    console.say(f"{request.model}: {len(work.suite.items())} prompts of {work.suite.name}, template {_told(work)}")
    make_folder(_folder(request))
    with locked(_folder(request)), AnswerStore(_folder(request) / ANSWERS) as store:
        if len(store):
            console.say(f"{len(store)} of them are answered already")
        found = _ask(request, work, store, console)
        settings = {**work.decides, "versions": versions(), "unanswered": dict(found.unanswered), **_counts(found)}
        write_responses(request.file, found.rows, suite_sha256=work.suite.fingerprint(), settings=settings)
        shutil.rmtree(_folder(request), ignore_errors=True)
    _report(request, len(found.rows), settings, console)


def _told(work: _Work) -> str:
    own = " (default for this model)" if work.settings.template is work.asked.template else ""
    return f"{work.settings.template}{own}"


def _ask(request: GenerateRequest, work: _Work, store: AnswerStore, console: Console) -> Generated:
    try:
        predictor = work.asked.engine.build()
    except PredictionError as e:
        raise _renamed(e, request) from e
    if work.settings.template is Template.CHAT and isinstance(predictor, TransformersPredictor):
        console.say(predictor.told)
    try:
        return generate(
            work.suite,
            cast(Responder, predictor),
            work.settings,
            asked=Asked(engine=work.asked.engine.name, checkpoint=work.asked.checkpoint, batch_size=request.batch_size),
            store=store,
            on_progress=lambda done, total: console.progress(f"generate {work.suite.name}", done, total),
        )
    except PredictionError as e:
        raise _renamed(e, request) from e
    finally:
        close(predictor)


def _renamed(error: PredictionError, request: GenerateRequest) -> PredictionError:
    """A server's error names fields of an engine: the server itself is `model` here."""
    if not is_url(request.model):
        return error
    return PredictionError(str(error).replace("`model=", "`served_model=").replace("`url=", "`model="))


def _counts(found: Generated) -> dict[str, object]:
    return {
        "finish": dict(Counter(str(row.finish) for row in found.rows)),
        "tokens": sum(row.tokens or 0 for row in found.rows),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """The part of a manifest's settings that says how the responses ended."""

    unanswered: Mapping[str, int] = field(default_factory=dict)
    finish: Mapping[str, int] = field(default_factory=dict)
    tokens: int | None = None


def _report(request: GenerateRequest, num: int, settings: Mapping[str, object], console: Console) -> None:
    """How the responses ended, and what to do with them."""
    ended = TypeAdapter(_Ended).validate_python(settings)
    for reason, count in ended.unanswered.items():
        console.say(
            f"warning: {count} prompts were not asked ({reason}); their responses are empty and count as failed"
        )
    rows = [("responses", str(num)), *((f"ended by {key}", str(count)) for key, count in ended.finish.items())]
    rows += [("tokens", "-" if ended.tokens is None else str(ended.tokens))]
    rows += [(reason, str(count)) for reason, count in ended.unanswered.items()]
    console.table(f"{request.file}", ("what", "number"), rows)
    console.say(f"score them: oneday evaluate {request.suite} --items {request.items} --responses {request.file}")
    shown = {key: settings.get(key) for key in ("generation", "checkpoint", "finish", "tokens", "unanswered")}
    console.result({"out": str(request.file), "suite": request.suite, "responses": num, **shown})


def _show_dry_run(request: GenerateRequest, work: _Work, console: Console) -> None:
    generation = work.settings.as_generation(work.asked.engine.name)
    rows = [
        ("prompts", str(len(work.suite.items()))),
        ("model", f"{request.model}, precision {work.asked.precision}"),
        *((key, repr(value) if isinstance(value, str) else str(value)) for key, value in generation.items()),
        ("charged to", str(work.asked.run) if work.asked.run and not request.uncharged else "nothing"),
        ("result", f"{request.file}, {manifest_path(request.file).name}"),
    ]
    console.table("oneday generate --dry-run: nothing is started", ("what", "value"), rows)
    console.result({"dry_run": True, "prompts": len(work.suite.items()), "generation": generation})
