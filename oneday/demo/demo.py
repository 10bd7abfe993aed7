"""`oneday demo`: the main job on embedded defaults, offline, on a CPU.

Corpus -> curation with the demo base -> budgeted QLoRA run -> pick -> base against tuned -> server. Every part is the
one that a real run uses; only the tasks and the base model are small. Nothing here ranks methods.
"""

import json
import math
import random
import urllib.request
from dataclasses import asdict, replace
from pathlib import Path

from core.comparison import OVERALL, Comparison
from core.example.prompt import training_prompt
from core.files import read_as, read_json, read_jsonl
from core.generation.engine import Engine
from core.generation.request import Kind
from core.manifest import record
from core.run_folder import PREDICTIONS, SCORED, SCORES, TRAIN
from core.stage import INPUTS, Stage
from curation.curate import curate
from curation.ni.bucket import TaskBucket, read_buckets
from curation.preset import CurationParameters
from curation.sample import SampleParameters
from curation.stages.context import Curation
from evaluation.held_out import SEED as SEED_OF_QUESTIONS
from evaluation.held_out import Question
from harness.budget.duration import pretty, seconds
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.rehearse import Rehearsal
from harness.errors import TrainError
from harness.job import TrainJob
from harness.recipe import read_recipe
from oneday.commands.compare import compare_run
from oneday.commands.report import leave_report
from oneday.commands.training.train import measure, train_measured
from oneday.demo.demo_time import GOOD_STEPS, MOST_S, USUAL_S, budget_for, questions_per_task, steps_within
from oneday.demo.tasks import DEMO_TASKS, draw_pairs, positive_examples, write_corpus
from oneday.display.console import Console
from oneday.display.curation_tables import show_curation
from oneday.display.training import show_training
from oneday.local_server import local_server, post
from oneday.requests.curation import DemoRequest
from oneday.requests.curation_call import curation_call
from oneday.requests.submission import ServeRequest

DEMO_BASE = Path(__file__).parent / "demo_base"
RECIPE = Path(__file__).parents[2] / "axolotl_configs" / "tiny_cpu.yml"
CORPUS = "00_corpus"
SEED = 2023
SCALE = 0.02
"""Of the 200K mix: 1,000 exact-match and 1,000 generation rows."""

MAX_NEW_TOKENS = 48


def run_demo(request: DemoRequest, console: Console) -> None:
    """Runs what is not done yet and shows everything.

    Trained on its errors alone, a model of 0.6 M parameters forgets what it could do; a share of rows that it already
    gets right is therefore retained. Without a budget the training gets as much as this machine needs
    (oneday/demo/demo_time.py).
    """
    run, redo = request.run, request.redo
    given_s = seconds(request.budget) if request.budget is not None else None
    curate_demo(run, retain=request.retain, redo=redo, console=console)
    recipe = read_recipe(RECIPE)
    job = TrainJob(
        run=run,
        mix=run / "05_mix",
        base=DEMO_BASE,
        recipe=recipe,
        card=get_gpu_profile("cpu"),
        budget_s=given_s or USUAL_S,
        redo=redo,
    )
    job, measured = measure(job, console)
    job = replace(job, budget_s=given_s or _budget_before(run, redo=redo) or budget_for(measured, recipe))
    steps = steps_within(job.budget_s, measured, recipe)
    if steps == 0 and given_s is None:
        return _too_slow(run, measured, console)
    console.say(f"training takes {pretty(job.budget_s)}, about {steps} steps; then base and tuned model are compared")
    result = train_measured(job, measured, console)
    show_training(result, console)
    comparisons = compare_demo(run, redo=redo, console=console)
    replies = check_server(run, console)
    overall = {c.group: c for c in comparisons}[OVERALL]
    leave_report(run, console)
    console.say(f"run folder: {run}")
    better = overall.low > 0 and overall.p < 0.05
    console.result(
        {
            "run": str(run), "overall": asdict(overall), "endpoints": replies, "steps": result.steps,
            "better_than_base": better,
        }
    )  # fmt: skip
    if not better:
        _explain(result.steps, overall, measured, console)
    return None


def _budget_before(run: Path, *, redo: bool) -> float | None:
    """Of a run that was begun here already: the same command goes on with it."""
    stored = run / TRAIN / INPUTS
    return read_as(float, stored, key="budget_s") if stored.is_file() and not redo else None


def _too_slow(run: Path, measured: Rehearsal, console: Console) -> None:
    """Says which figures are missing on a machine on which nothing can be trained in time. That is no error."""
    console.alarm(
        f"no training: its shortest run takes {pretty(measured.minimum_s())} here, more than the {pretty(MOST_S)} that "
        f"the demo allows itself ({measured.describe()}). Missing: validation losses, the comparison, the server. Try "
        f"it on idle cores, or give it time: --budget {math.ceil(measured.minimum_s() / 60) + 5}m"
    )
    console.result({"run": str(run), "overall": None, "endpoints": {}, "steps": 0, "better_than_base": None})


def _explain(steps: int, overall: Comparison, measured: Rehearsal, console: Console) -> None:
    """Why tuned is not better: too few steps on this machine, which is no error, or the training itself.

    A machine may be slower in the training than it was in the rehearsal, from which the steps were planned.

    Raises:
        TrainError: there were steps enough.
    """
    figures = f"{overall.base:.3f} -> {overall.tuned:.3f}, p {overall.p:.2f}"
    if steps < GOOD_STEPS:
        console.alarm(
            f"missing: a tuned model that is better than the base ({figures}). Only {steps} of the usual {GOOD_STEPS} "
            f"steps were made: one took {measured.typical_step_s:.1f} s in the rehearsal, and perhaps longer since. "
            "Use idle cores, or --budget 30m --redo."
        )
        return
    raise TrainError(
        f"tuned is no better than base: {figures}. Give it more time (--budget 5m --redo), or retain more of what the "
        "base knows (--retain 0.25 --redo)."
    )


def curate_demo(run: Path, *, retain: float, redo: bool, console: Console) -> None:
    """Writes the corpus and curates it; asserts that the base model leaves something to choose."""
    corpus = run / CORPUS
    write_corpus(corpus, seed=SEED)
    parameters = CurationParameters(
        scale=SCALE,
        without=frozenset({"lima", "open-platypus", "openbookqa", "quac", "cnn_dailymail", "mathinstruct"}),
        samples=SampleParameters(seed=SEED, retain_share=retain),
        seed=SEED,
    )
    engine = Engine(name="transformers", base=DEMO_BASE)
    curation = Curation(
        run=run,
        tasks=(corpus,),
        predictor=engine.build(),
        parameters=parameters,
        tokenizer=DEMO_BASE / "tokenizer.json",
        redo=redo,
        on_progress=console.progress,
    )
    mix = curate(curation)
    call = curation_call(curation, engine)
    record(run, "curate", {"base_path": str(DEMO_BASE), "call": call, **read_json(mix / "manifest.json")})
    show_curation(run, console)
    bands = [band(bucket) for bucket in read_buckets(run / SCORES / "buckets.jsonl")]
    assert {"solved", "half", "unsolved"} <= set(bands), f"the demo base's accuracy does not differ by task: {bands}"


def band(bucket: TaskBucket) -> str:
    """How well the base model solves a task, from its mean few-shot score."""
    mean = bucket.mean_score
    return "solved" if mean >= 0.9 else "half" if mean >= 0.2 else "unsolved"


def compare_demo(run: Path, *, redo: bool, console: Console) -> list[Comparison]:
    """Compares base and tuned model on new instances."""
    questions = fresh_questions(run, per_task=_per_task(run, redo=redo))
    return compare_run(run, questions, base=None, max_new_tokens=MAX_NEW_TOKENS, redo=redo, console=console)


def _per_task(run: Path, *, redo: bool) -> int:
    """Questions per task, from the base's speed in curation; the stored number if they were asked before."""
    num_tasks = sum(not task.unwanted for task in DEMO_TASKS)
    stored = run / SCORED / INPUTS
    if stored.is_file() and not redo:
        return read_as(int, stored, key="questions") // num_tasks
    asked = Stage(run / PREDICTIONS, inputs=read_json(run / PREDICTIONS / INPUTS))
    num_prompts = sum(tally.read for tally in asked.summary().tallies.values())
    return questions_per_task(num_tasks=num_tasks, seconds_per_prompt=asked.seconds() / max(1, num_prompts))


def fresh_questions(run: Path, *, per_task: int) -> list[Question]:
    """New instances of every wanted task, with inputs that occur neither in the mix nor in the task's file."""
    known = {row["input"] for name in ("train", "validation") for row in read_jsonl(run / "05_mix" / f"{name}.jsonl")}
    buckets = {bucket.task: bucket for bucket in read_buckets(run / SCORES / "buckets.jsonl")}
    questions = []
    for task in DEMO_TASKS:
        if task.unwanted:
            continue
        corpus = json.loads((run / CORPUS / f"{task.name}.json").read_text(encoding="utf-8"))
        seen = [i["input"] for i in corpus["Instances"]] + [i for i, _ in positive_examples(task)]
        rng = random.Random(f"{SEED_OF_QUESTIONS}-{task.name}")
        bucket = buckets[task.name]
        for query, answer in draw_pairs(task, rng, per_task, avoid=[*seen, *known]):
            questions.append(
                Question(
                    group=f"{bucket.kind.replace('_', ' ')}, {band(bucket)} by the base",
                    task=task.name,
                    instruction=task.definition,
                    input=query,
                    reference=answer,
                    exact=bucket.kind is Kind.EXACT_MATCH,
                )
            )
    return questions


def check_server(run: Path, console: Console) -> dict[str, object]:
    """Starts `oneday serve` on a free port, asks every endpoint once, stops it."""
    with local_server(ServeRequest(checkpoint=run), log=run / SCORED / "server.log") as url:
        replies = ask_all(url)
    console.table("served over HTTP", ("endpoint", "answer"), [(k, json.dumps(v)[:100]) for k, v in replies.items()])
    return replies


def ask_all(url: str) -> dict[str, object]:
    """One request to each endpoint, with HELM's field names."""
    task = DEMO_TASKS[14]
    query, _ = draw_pairs(task, random.Random(SEED), 1)[0]
    process = {
        "prompt": training_prompt(task.definition, query), "temperature": 1e-7, "num_return_sequences": 1,
        "max_new_tokens": 16, "top_p": 1, "echo_prompt": False, "top_k_per_token": 1, "stop_sequences": ["\n\n"],
    }  # fmt: skip
    answer = post(f"{url}/process", process)
    tokens = post(f"{url}/tokenize", {"text": query, "truncation": True, "max_length": 2048})
    text = post(f"{url}/decode", {"tokens": tokens["tokens"]})
    assert text["text"] == query, f"decode(tokenize(x)) is {text['text']!r}, not {query!r}"
    with urllib.request.urlopen(f"{url}/health", timeout=30) as reply:
        health = json.load(reply)
    return {
        "/process": {"text": answer["text"], "logprob": round(answer["logprob"], 4)},
        "/tokenize": {"num_tokens": len(tokens["tokens"])},
        "/decode": {"text": text["text"]},
        "/health": {"status": health["status"]},
    }
