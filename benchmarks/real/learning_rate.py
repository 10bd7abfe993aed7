"""The rate that `learning_rate: auto` chooses, against a grid of six rates at equal steps on a small real model.

    python -m benchmarks.real.learning_rate --base smollm2-135m --tasks natural-instructions/tasks --state runs/rates
    python -m benchmarks.real.learning_rate --state runs/rates --report          # what stands by now

Trains a LoRA on random rows of Natural Instructions, once at each rate of the grid and once at the chosen rate, on the
same batches and over the whole shape of the schedule. The choice comes from probes of `--probe-steps` steps, the fewest
that a budget allows, so this is its hardest case. Regret is the validation loss of the chosen rate minus the lowest of
all trainings. Its interval resamples validation rows; it says nothing of other seeds, for there is one.

The same command goes on after a kill. Prints one JSON line.
"""

import argparse
import logging
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.real.division import DivisionParameters, divide, read_tasks, row_of
from benchmarks.real.result import print_result
from benchmarks.real.selection import State, Unit, cut, last_checkpoint, row_counter
from core.files import file_sha256, make_folder, read_as, read_json, sha256, write_json, write_jsonl
from core.model.folder import model_fingerprint
from evaluation.resampling import percentile_interval, resampled_ratios
from harness.budget.rehearse import Rehearsal
from harness.checkpoint.loss import CheckpointLosses
from harness.data.dataset import read_dataset_rows
from harness.job import TrainJob
from harness.ledger.day import Charging
from harness.rate_probe import FACTORS, FEWEST_STEPS, SHARE, RateChoice, choose_rate
from harness.run import train
from oneday.commands.training.job import Setting, training_job
from oneday.requests.training import TrainRequest

logger = logging.getLogger("learning_rate")

RECIPE = Path(__file__).parent / "learning_rate.yml"
GRID = (1e-4, 2.5e-4, 6.3e-4, 1.6e-3, 4e-3, 1e-2)
"""Steps of a factor of 2.5 around 1.0e-3, the middle of what the formula and the recipes of this folder name. The
winner's 2e-5 at alpha 256 acts like 1.6e-4 here."""

SEQUENCE_LEN = 1_024
DIVISION = DivisionParameters(validation_rows=48)
SPARE = 1.5
"""Tokens drawn over tokens trained, so that no row is trained twice."""
BUDGET_S = 30 * 86_400.0
"""Of a training. `max_steps` ends it long before, so that a busy machine changes nothing but the time."""
COSTS = Rehearsal(
    prepare_s=5.0, load_s=600.0, step_s=60.0, eval_s=0.0, save_s=0.0, verify_s=0.0, peak_memory_gib=None, wall_s=0.0
)
"""Assumed in place of a rehearsal, for a slow machine. With so long a budget they decide no step."""
CHOSEN = "chosen"


class Rates:
    """The trainings of a state's folder."""

    def __init__(self, state: State, base: Path, tokens: int, probe_steps: int) -> None:
        self.state = state
        self.base = base
        self.steps = max(1, round(tokens / SEQUENCE_LEN))
        self.probe_steps = probe_steps

    @property
    def mix(self) -> Path:
        """The rows."""
        return self.state.data / "mix"

    def losses(self, name: str) -> Path:
        """The losses of the validation rows under a model."""
        return self.state.folder / "losses" / f"{name}.json"

    def job(self, run: Path) -> TrainJob:
        """A training with the formula's rate."""
        request = TrainRequest(mix=self.mix, base=self.base, config=RECIPE, card="cpu", run=run)
        job = training_job(Setting.of(request), budget_s=BUDGET_S)
        changes = {"max_steps": self.steps, "eval_steps": self.steps}
        return replace(job, recipe=job.recipe.model_copy(update=changes), charging=Charging.COMPUTE)

    def at(self, name: str, rate: float) -> TrainJob:
        """The training at a rate."""
        job = self.job(self.state.folder / "runs" / name)
        changes = {"learning_rate": rate, "learning_rate_auto": False}
        return replace(job, recipe=job.recipe.model_copy(update=changes))

    @property
    def choice(self) -> RateChoice | None:
        """None before the probes are trained."""
        path = self.state.folder / "choice.json"
        return read_as(RateChoice, path) if path.is_file() else None


def units(rates: Rates, tasks: Path) -> Iterator[Unit]:
    """All units, in the order in which they are done."""
    digest = sha256("\n".join(f"{p.name} {file_sha256(p)}" for p in sorted(tasks.glob("*.json"))).encode())
    inputs = {
        "division": asdict(DIVISION), "tasks": digest, "model": model_fingerprint(rates.base), "steps": rates.steps,
        "recipe": file_sha256(RECIPE),
    }  # fmt: skip
    tokens = round(SPARE * rates.steps * SEQUENCE_LEN)
    draw = partial(write_random_mix, rates.mix, tasks=tasks, base=rates.base, tokens=tokens)
    yield Unit(name="data", inputs=inputs, work=draw)
    yield Unit(name="losses-base", inputs=inputs, work=partial(_measure, rates, "base"))
    probed = {**inputs, "probe_steps": rates.probe_steps}
    yield Unit(name="choice", inputs=probed, work=partial(_choose, rates))
    for rate in GRID:
        yield Unit(
            name=f"rate-{rate:g}", inputs={**inputs, "rate": rate}, work=partial(_train, rates, f"{rate:g}", rate)
        )
    assert rates.choice is not None
    chosen = rates.choice.rate
    yield Unit(name=CHOSEN, inputs={**probed, "rate": chosen}, work=partial(_train, rates, CHOSEN, chosen))


def write_random_mix(
    mix: Path, *, tasks: Path, base: Path, tokens: int, parameters: DivisionParameters = DIVISION
) -> None:
    """Writes random rows of the trained tasks, and the validation rows."""
    divided = divide(read_tasks(tasks), parameters)
    rows = [row_of(d, i, "train") for d in divided for i in d.rest]
    random.Random("learning_rate").shuffle(rows)
    make_folder(mix)
    write_jsonl(mix / "train.jsonl", cut(rows, row_counter(base), tokens))
    write_jsonl(mix / "validation.jsonl", [row_of(d, i, "validation") for d in divided for i in d.validation])


def _choose(rates: Rates) -> None:
    """Probes of `probe_steps`, because no probe is longer than its training, with time to spare on a slow machine."""
    job = rates.job(rates.state.folder / "runs" / "auto")
    short = replace(job, recipe=job.recipe.model_copy(update={"max_steps": rates.probe_steps}))
    write_json(rates.state.folder / "choice.json", asdict(choose_rate(short, COSTS)))


def _train(rates: Rates, name: str, rate: float) -> None:
    job = rates.at(name, rate)
    result = train(job, COSTS)
    if result.steps != rates.steps:
        sys.exit(f"{job.run}: ended after {result.steps} and not after {rates.steps} steps. Look into its report.")
    _measure(rates, name)


def _measure(rates: Rates, name: str) -> None:
    """Writes the summed loss of every validation row under the last checkpoint, or under the base."""
    rows = read_dataset_rows(rates.mix / "validation.jsonl", rates.base)
    losses = CheckpointLosses(rates.base, precision=None, rows=rows)
    numbers = range(len(rows))
    if name == "base":
        sums = [losses.base_mean([n]) * losses.num_answer_tokens[n] for n in numbers]
    else:
        sums = losses.sums(last_checkpoint(rates.state.folder / "runs" / name), list(numbers))
    make_folder(rates.losses(name).parent)
    write_json(rates.losses(name), {"sums": sums, "tokens": losses.num_answer_tokens})


def report(rates: Rates) -> dict[str, object]:
    """What stands by now."""
    names = [name for name in (*(f"{rate:g}" for rate in GRID), CHOSEN) if rates.losses(name).is_file()]
    found = {name: read_json(rates.losses(name)) for name in names}
    choice = rates.choice
    return {
        "steps": rates.steps,
        "tokens": rates.steps * SEQUENCE_LEN,
        "probe_steps": rates.probe_steps,
        "choice": asdict(choice) if choice else None,
        "probed_tokens": sum(p.steps for p in choice.probes) * SEQUENCE_LEN if choice else None,
        "share_of_budget": SHARE,
        "factors": FACTORS,
        "base_loss": _mean(read_json(rates.losses("base"))) if rates.losses("base").is_file() else None,
        "validation_rows": DIVISION.validation_rows,
        "loss": {name: _mean(losses) for name, losses in found.items()},
        "regret": regret(found[CHOSEN], found) if CHOSEN in found and len(found) == len(GRID) + 1 else None,
    }


def _mean(losses: Mapping[str, Sequence[float]]) -> float:
    return round(sum(losses["sums"]) / sum(losses["tokens"]), 4)


def regret(
    chosen: Mapping[str, Sequence[float]], trained: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, object]:
    """The chosen rate's loss minus the lowest of all, and minus each, in nats per answer token.

    The interval of the difference to the best resamples rows; which one is best is not resampled.
    """
    tokens = np.array(chosen["tokens"], dtype=np.float64)[:, None]
    best = min(trained, key=lambda name: _mean(trained[name]))
    differences = {}
    for name, losses in trained.items():
        gained = (np.array(chosen["sums"]) - np.array(losses["sums"]))[:, None]
        interval = percentile_interval(resampled_ratios(gained, tokens)[:, 0])
        value = float(gained.sum() / tokens.sum())
        differences[name] = {"value": round(value, 4), "interval": [round(bound, 4) for bound in interval]}
    return {"best": best, **differences[best], "to_each": differences}


def main() -> None:
    """Does what is missing, or reports."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--base", type=Path, help="folder of the model")
    parser.add_argument("--tasks", type=Path, help="folder of NI task files")
    parser.add_argument("--tokens", type=int, default=20_000, help="of each training")
    parser.add_argument("--probe-steps", type=int, default=FEWEST_STEPS, help="of each probe")
    parser.add_argument("--report", action="store_true", help="print the results so far as one JSON line")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    state = State(arguments.state)
    rates = Rates(state, arguments.base or Path(), arguments.tokens, arguments.probe_steps)
    if not arguments.report:
        if arguments.base is None or arguments.tasks is None:
            parser.error("--base and --tasks are needed, except with --report")
        for unit in units(rates, arguments.tasks):
            state.run(unit)
    command = "python -m benchmarks.real.learning_rate --base BASE --tasks TASKS --state STATE"
    if arguments.tokens != 20_000:
        command += f" --tokens {arguments.tokens}"
    print_result(command, result=report(rates))


if __name__ == "__main__":
    main()
