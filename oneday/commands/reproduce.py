"""`oneday reproduce`: repeats a run from its record and compares both, figure by figure."""

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean

from core.files import read_json
from core.generation.engine import close
from core.manifest import read_manifest, record
from core.model.folder import model_fingerprint
from core.run_folder import MIX
from core.workers import default_workers
from curation.curate import curate
from evaluation.held_out import Question, held_out_questions, score_answer
from harness.axolotl_process import Launcher, start_axolotl
from harness.base_model import find_model
from harness.budget.duration import seconds
from harness.budget.profile_choice import choose_profile
from harness.errors import ConfigError, TrainError
from harness.job import TrainJob
from harness.recipe import check_card
from harness.reproduce import (
    BUDGET_FACTOR,
    Figure,
    Record,
    Verdict,
    check_base,
    check_inputs,
    check_plan_is_followed,
    compare_answers,
    compare_curations,
    compare_runs,
    read_record,
)
from oneday.commands.compare import mix_of
from oneday.commands.training.job import charging_of
from oneday.commands.training.train import rehearse_and_train
from oneday.demo.demo import DEMO_BASE
from oneday.display.console import Console
from oneday.display.training import show_training
from oneday.local_server import ask, local_server
from oneday.requests.curation_call import Servers, curation_again, recorded_engine
from oneday.requests.submission import ReproduceRequest, ServeRequest

MAX_NEW_TOKENS = 128
SERVER_LOG = "server.log"


def run_reproduce(request: ReproduceRequest, console: Console, *, launch: Launcher = start_axolotl) -> None:
    """Checks the inputs, curates if requested, trains by the logged plan, picks, serves and compares.

    Raises:
        TrainError: A figure of the repetition differs.
    """
    recorded = read_record(request.manifest)
    check_plan_is_followed(recorded)
    job = _job(request, recorded)
    check_base(recorded, job.base)
    figures = _curate(request, recorded, job.base, console) if request.curate else []
    if any(f.verdict is Verdict.DIFFERENT for f in figures):
        _end(request, recorded, figures, console)
    check_inputs(recorded, mix=job.mix, base=job.base)
    console.say(f"rows and base model are those of {recorded.run}; the run follows its plan")
    result = rehearse_and_train(job, console, launch=launch)
    show_training(result, console)
    figures += compare_runs(recorded.run, request.run)
    if request.questions:
        questions = [q for q in held_out_questions(job.mix, request.questions) if not q.messages]
        if questions:  # the contract's server takes one text
            figures += serve_both((recorded.run, request.run), questions, base=job.base, console=console)
    _end(request, recorded, figures, console, is_short=result.stop_reason in ("deadline", "killed"))


def _end(
    request: ReproduceRequest, recorded: Record, figures: list[Figure], console: Console, *, is_short: bool = False
) -> None:
    """Shows the table; raises TrainError if a figure differs."""
    show_figures(figures, console)
    console.result({"run": str(request.run), "figures": [asdict(f) for f in figures]})
    different = [f.name for f in figures if f.verdict is Verdict.DIFFERENT and not f.name.startswith("version of ")]
    if different:
        mend = (
            "Its budget ended before the plan: give more with `budget=` and `redo=true`."
            if is_short
            else "See the table."
        )
        raise TrainError(f"{request.run}: differs from {recorded.run}: {', '.join(different)}. {mend}")
    console.say(f"serve it: oneday serve --checkpoint {request.run}")


def _curate(request: ReproduceRequest, recorded: Record, base: Path, console: Console) -> list[Figure]:
    """Repeats the curation: the base predicts again, and predictions are scored and rows sampled again."""
    section = read_manifest(recorded.run).get("curate", {})
    servers = Servers(url=request.url, ray_address=request.ray_address)
    engine = recorded_engine(recorded.run, section, servers)
    if engine.url is not None and not engine.sends_key:
        console.say(f"requests go to {engine.url}, which the manifest names, without a key; `url=` sends one")
    curation = curation_again(
        recorded.run, section, run=request.run, tasks=request.tasks, base=base, redo=request.redo, servers=servers
    )
    console.say(f"curating again: {len(curation.files)} task files")
    try:
        mix = curate(replace(curation, workers=default_workers(), on_progress=console.progress))
    finally:
        close(curation.predictor)
    now = read_json(mix / "manifest.json")
    call = section["call"] | {"tasks": [str(path.resolve()) for path in curation.tasks]}
    record(request.run, "curate", {**section, **now, "base_path": str(base), "call": call})
    return compare_curations(section, now)


def serve_both(runs: tuple[Path, Path], questions: Sequence[Question], *, base: Path, console: Console) -> list[Figure]:
    """Compares the answers of the recorded and the new checkpoint to the same questions over HTTP."""
    answers, scores = [], []
    for run in runs:
        console.say(f"asking {run} {len(questions)} held-out questions over HTTP")
        with local_server(ServeRequest(checkpoint=run, base=base), log=runs[1] / SERVER_LOG) as url:
            texts = ask(url, [question.text for question in questions], max_new_tokens=MAX_NEW_TOKENS)
        answers.append(texts)
        scores.append(fmean(score_answer(q, text) for q, text in zip(questions, texts, strict=True)))
    return compare_answers(answers[0], answers[1], (scores[0], scores[1]))


def _job(request: ReproduceRequest, recorded: Record) -> TrainJob:
    mix = request.run / MIX if request.curate else request.mix or mix_of(recorded.run)
    choice = choose_profile(request.card or recorded.train.card)
    check_card(recorded.recipe, choice.card)
    if os.path.realpath(request.run) == os.path.realpath(recorded.run):
        raise ConfigError(f"`run={request.run}`: this is the recorded run. Give another folder for the repetition.")
    return TrainJob(
        run=request.run,
        mix=mix,
        base=_base(request, recorded),
        recipe=recorded.recipe,
        card=choice.card,
        card_how=choice.reason if request.card else "the one on record",
        device=choice.device,
        budget_s=seconds(request.budget) if request.budget else BUDGET_FACTOR * recorded.train.budget_s,
        redo=request.redo,
        charging=charging_of(recorded.train.clock),
        follow_plan=recorded.plan,
    )


def _base(request: ReproduceRequest, recorded: Record) -> Path:
    """The base of the request, else the recorded one; the demo's base is found wherever the program is installed."""
    if request.base is None and recorded.train.base == model_fingerprint(DEMO_BASE):
        return DEMO_BASE
    return find_model(str(request.base or recorded.train.base_path))


def show_figures(figures: list[Figure], console: Console) -> None:
    """Shows the recorded and the new figures as a table."""
    rows = [
        (f.name, f.before, f.now, f"{f.verdict}{f' ({f.bound})' if f.verdict is Verdict.WITHIN and f.bound else ''}")
        for f in figures
    ]
    console.table("recorded and repeated run", ("figure", "recorded", "repeated", ""), rows)
