"""A study in ten minutes on two cores, with the demo's base and tasks.

    python -m oneday.demo.study --run runs/study-demo

Five arms in one budget: two learning rates that race half-way, half of the new rows, text before instructions, noise,
and the base itself. Every part is the one that a real study uses. A model of 0.6 M parameters shows the mechanics and
ranks nothing. Steps and budget follow what the rehearsals measured, so that a slow machine finishes it too.

Where it sits: `make study-demo`; it writes data and a study's YAML, and calls `oneday study`.
"""

import argparse
import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.files import write_jsonl, write_text
from oneday.cli.main import exit_code
from oneday.cli.spelling import spelled
from oneday.commands.studying.here import run_here
from oneday.demo.demo import DEMO_BASE
from oneday.demo.tasks import DEMO_TASKS, DemoTask, draw_pairs
from oneday.display.console import Console
from oneday.requests.studying import StudyRequest
from studies.arm import resolve_arms
from studies.estimate import Measured, Speeds, estimate
from studies.graph import build_graph
from studies.identity import Known
from studies.running.survey import Context
from studies.study import Study, read_study

SEED = 2023
PER_TASK, QUESTIONS_PER_TASK = 60, 5
WANTED = [task for task in DEMO_TASKS if not task.unwanted]
KNOWN = [task for task in WANTED if task.base_weight > 0][:6]
"""Tasks of which the base has seen some."""
NEW = [task for task in WANTED if task.base_weight == 0][:6]

MOST_STEPS, LEAST_STEPS = 84, 24
"""Of a training on rows."""

USUAL_S, MOST_S = 600.0, 1800.0
"""The budget on idle cores, and on a machine on which `LEAST_STEPS` need more."""

MARGIN = 1.5
"""Budget divided by the estimate of everything. On shared cores a step may take longer than in the rehearsal."""

STUDY = """\
study: demo
about: What the demo's base learns from rows of tasks that it has seen, of new ones, and from text before them
base: {base}
models: {{{base}: {{parameters: 6.0e5, tokens_per_s: 1500, new_tokens_per_s: 60, start_s: {start_s}}}}}
template: alpaca
card: cpu
budget: {budget_s}s
data_folder: {data}
sources:
  known: {{path: known.jsonl, rows: {known}, tokens: 60}}
  new: {{path: new.jsonl, rows: {new}, tokens: 60}}
  text: {{path: text.jsonl, rows: {new}, tokens: 60}}
stages:
  - {{name: cpt, kind: cpt, data: {{build: rows, source: text}}, weights: full, learning_rate: 5.0e-4, max_steps: 12,
     micro_batch_size: 4, sequence_len: 256, gradient_checkpointing: false, eval_steps: 12}}
  - {{name: sft, kind: sft, data: {{build: nested-mix, whole: known, nested: new, percent: 100}}, weights: lora,
     lora_r: 16, learning_rate: 3.0e-3, warmup_ratio: 0.1, max_steps: {steps}, micro_batch_size: 4, sequence_len: 256,
     gradient_checkpointing: false, eval_steps: {steps}}}
anchor: whole
arms:
  whole: {{priority: 100, skip: [cpt]}}
  half: {{priority: 80, skip: [cpt], changes: {{sft.data.percent: 50}}}}
  text-first: {{priority: 60}}
  noisy: {{priority: 40, skip: [cpt], changes: {{sft.neftune_noise_alpha: 5}}}}
  base: {{priority: 90, skip: [cpt, sft]}}
sweep: {{stage: sft, key: learning_rate, values: [1.0e-6, 3.0e-3], arm: whole, halving: true}}
selection: {{metrics: [held-out.score]}}
suites:
  held-out: {{items: questions.jsonl, scores: [held-out], languages: [en], num_items: {questions}, prompt_tokens: 60,
             response_tokens: 8, generation: {{max_new_tokens: 24}}, use: [select, report]}}
deviations:
  - {{what: base, paper: none, here: 0.6 M parameters, why: "this shows the mechanics; no figure of it ranks a method"}}
"""


def write_demo_study(
    folder: Path, *, steps: int = MOST_STEPS, start_s: float = 15.0, budget_s: float = MOST_S
) -> Path:  # fmt: skip
    """Data and YAML of the study; returns the YAML."""
    rng = random.Random(SEED)
    known, new = [list(_rows(tasks, rng)) for tasks in (KNOWN, NEW)]
    seen = {str(row["input"]) for row in (*known, *new)}
    questions = list(_rows([*KNOWN, *NEW], rng, num=QUESTIONS_PER_TASK, avoid=sorted(seen)))
    text = [{"text": f"{row['instruction']}\n{row['input']}\n{row['output']}\n"} for row in new]
    for name, rows in (("known", known), ("new", new), ("questions", questions), ("text", text)):
        write_jsonl(folder / f"{name}.jsonl", rows)
    sizes = {"known": len(known), "new": len(new), "questions": len(questions)}
    length = {"steps": steps, "start_s": round(start_s, 1), "budget_s": math.ceil(budget_s)}
    path = folder / "study.yml"
    write_text(path, STUDY.format(base=DEMO_BASE, data=folder, **sizes, **length))
    return path


def fitted_to_machine(folder: Path, rehearsed: Mapping[str, Measured]) -> Study:
    """The study with as many steps as ten minutes hold at the measured speeds, and with the budget that these need.

    Args:
        rehearsed: By `speed_key`, what the rehearsals found.
    """
    start_s = min(measured.start_s for measured in rehearsed.values())
    study, needed_s = read_study(write_demo_study(folder, start_s=start_s)), math.inf
    for steps in range(MOST_STEPS, LEAST_STEPS - 1, -12):
        study = read_study(write_demo_study(folder, steps=steps, start_s=start_s))
        needed_s = MARGIN * needed_seconds(study, rehearsed)
        if needed_s <= USUAL_S:
            break
    return study.model_copy(update={"budget": f"{math.ceil(min(MOST_S, max(USUAL_S, needed_s)))}s"})


def needed_seconds(study: Study, rehearsed: Mapping[str, Measured]) -> float:
    """The estimate of everything that the study trains and generates."""
    graph = build_graph(study, resolve_arms(study), Known(), {})
    return sum(cost.seconds for cost in estimate(study, graph, Speeds(rehearsed=rehearsed)).values())


def _rows(
    tasks: Sequence[DemoTask], rng: random.Random, *, num: int = PER_TASK, avoid: Sequence[str] = ()
) -> Iterator[dict[str, object]]:
    for task in tasks:
        for number, (text, answer) in enumerate(draw_pairs(task, rng, num, avoid=avoid)):
            named = {"id": f"{task.name}-{number}", "source": "demo", "task": task.name, "licence": task.licence}
            yield {**named, "instruction": task.definition, "input": text, "output": answer}


def run_study_demo(run: Path, console: Console) -> None:
    """Writes the study and runs it, or goes on with it.

    Raises:
        OnedayError: as `oneday study`.
    """
    data = run / "00_data"

    def fitted(context: Context) -> Study:
        study = fitted_to_machine(data, context.rehearsed)
        console.say(f"{study.stage('sft').max_steps} steps a training, {study.budget} for everything, as measured here")
        return study

    run_here(StudyRequest(file=write_demo_study(data), run=run, card="cpu"), console, fitted=fitted)


def main() -> int:
    """Runs it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/study-demo"))
    run: Path = parser.parse_args().run
    console = Console(spelled=lambda text: spelled(text, StudyRequest))
    return exit_code(lambda: run_study_demo(run, console), ["study", str(run / "00_data/study.yml"), "--run", str(run)])


if __name__ == "__main__":
    sys.exit(main())
