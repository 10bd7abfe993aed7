"""Does an average of a run's checkpoints beat its best checkpoint, and a constant rate with averaging a cosine?

    python -m benchmarks.real.averaging RUN... --held-out questions.jsonl --questions 100 --num 3 --state FOLDER

Every run is a finished one with at least two sealed checkpoints. Its candidates are the last checkpoint, the best one
by the trainer's validation loss, and the averages of the last `--num` checkpoints that the picker can try
(harness/checkpoint/averaging.py). The loss is measured in nats per answer token, on the run's validation rows and on
`--questions` random rows of a file that nobody trained on. The validation rows also chose the best checkpoint and the
weights of the loss-weighted average, so only the held-out rows are a fair comparison.

Differences are paired by row. Rows of a task are resampled together (bootstrap), and a task's rows of all runs count
together, so an interval says what other tasks would show, and not other runs. Below 0 is better. Runs of the same rows
and seed with different schedules are compared too: each candidate with the best checkpoint of the cosine.

The same command goes on after a kill: the losses of every finished candidate are kept in `--state`.
"""

import argparse
import json
import logging
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.real.averaging_report import BEST, LAST, MeasuredRun, RowsOf, differences, schedule_differences
from benchmarks.real.result import print_result
from core.files import file_sha256, make_folder, read_json, read_jsonl, sha256, write_json, write_jsonl
from core.manifest import read_manifest
from core.model.token_ids import IGNORED_LABEL, RowIds
from core.run_folder import OUTPUT, TRAIN
from harness.checkpoint.adapter import WEIGHTS
from harness.checkpoint.average import write_average
from harness.checkpoint.averaging import AverageKind, Averaging, Measured
from harness.checkpoint.content import EMA_WEIGHTS
from harness.checkpoint.loss import CheckpointLosses
from harness.checkpoint.product import average_products
from harness.checkpoint.seal import Checkpoint, inspect_all
from harness.checkpoint.trained_base import find_trained_base
from harness.data.dataset import read_dataset_rows

logger = logging.getLogger("averaging")

SEED = 4242
"""Of the choice of held-out rows."""

AVERAGES = {
    AverageKind.LAST: "uniform",
    AverageKind.WEIGHTED: "loss-weighted",
    AverageKind.PRODUCTS: "products",
    AverageKind.MOVING: "moving",
}
"""The kinds of averages, and what the results call them."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Tokenised rows of one kind."""

    described: RowsOf
    ids: Sequence[RowIds]

    @property
    def digest(self) -> str:
        """Of the token ids and labels."""
        return sha256(json.dumps([[list(row.input_ids), list(row.labels)] for row in self.ids]).encode())


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What is measured of a run."""

    folders: Mapping[str, Path]
    """Name -> folder of the adapter."""
    made_of: Mapping[str, str]
    """Name -> the checkpoints in it, in words."""
    held_by_rank: float
    """Share of the squared norm of the mean product that the adapter's rank holds."""


def candidates_of(run: Path, num: int, folder: Path) -> Candidates:
    """The checkpoints of a run, and its averages, which are written into the folder.

    Raises:
        SystemExit: The run has fewer than two complete checkpoints with a loss.
    """
    good = [c for c in inspect_all(run / TRAIN / OUTPUT)[0] if c.validation_loss is not None]
    if len(good) < 2:
        sys.exit(f"{run}: fewer than two complete checkpoints with a validation loss. Give a finished run.")
    paths = {c.path.name: c.path for c in good}
    best = min(good, key=lambda c: (_loss(c), c.step))
    folders = {LAST: good[-1].path, BEST: best.path}
    made_of, held = {name: path.name for name, path in folders.items()}, 1.0
    kinds = [k for k in AVERAGES if k is not AverageKind.MOVING or (good[-1].path / EMA_WEIGHTS).is_file()]
    measured = [Measured(name=c.path.name, step=c.step, loss=_loss(c)) for c in good]
    for trial in Averaging(num=num, kinds=tuple(kinds)).trials(measured):
        name, out = AVERAGES[trial.kind], folder / trial.kind
        members = [paths[member] for member in trial.members]
        if trial.kind is AverageKind.PRODUCTS:
            held = average_products(members, trial.weights, out)
        else:
            write_average(trial, members, out)
        folders[name] = out
        made_of[name] = ", ".join(f"{m} x {w:.3f}" for m, w in zip(trial.members, trial.weights, strict=True))
    return Candidates(folders=folders, made_of=made_of, held_by_rank=held)


def _loss(checkpoint: Checkpoint) -> float:
    assert checkpoint.validation_loss is not None
    return checkpoint.validation_loss


def read_rows(kind: str, path: Path, base: Path, state: Path, num: int | None = None) -> Rows:
    """Rows of a mix's file, whose tasks are known; at random if a number is given."""
    rows = list(read_jsonl(path))
    if num is not None and num < len(rows):
        rows = [rows[n] for n in sorted(random.Random(SEED).sample(range(len(rows)), num))]
    chosen = state / f"{kind}-{file_sha256(path)[:12]}.jsonl"
    make_folder(state)
    write_jsonl(chosen, rows)
    ids = read_dataset_rows(chosen, base)
    assert len(ids) == len(rows), f"{path}: rows without an answer"
    described = RowsOf(
        kind=kind,
        tasks=[str(row.get("task") or number) for number, row in enumerate(rows)],
        num_answer_tokens=[sum(label != IGNORED_LABEL for label in row.labels[1:]) for row in ids],
    )
    return Rows(described=described, ids=ids)


def measure(run: Path, candidates: Candidates, rows: Sequence[Rows], base: Path, state: Path) -> MeasuredRun:
    """The losses of every candidate; those that are kept are not measured again."""
    trained = find_trained_base(run / TRAIN / OUTPUT / candidates.made_of[LAST])
    loaded: dict[str, CheckpointLosses] = {}

    def sums(folder: Path, of: Rows) -> list[float]:
        path = state / "losses" / f"{file_sha256(folder / WEIGHTS)[:16]}-{of.digest[:16]}.json"
        if not path.is_file():
            if of.digest not in loaded:
                precision = trained.quantisation if trained else None
                loaded[of.digest] = CheckpointLosses(base, precision=precision, rows=of.ids)
            found = loaded[of.digest].sums(folder, range(len(of.ids)))
            make_folder(path.parent)
            write_json(path, found)
            logger.info("%s, %s: %d rows of %s", run.name, folder.name, len(found), of.described.kind)
        return list(read_json(path))

    train = read_manifest(run)["train"]
    losses = {name: [sums(folder, of) for of in rows] for name, folder in candidates.folders.items()}
    return MeasuredRun(
        name=run.name,
        schedule=train["recipe"]["lr_scheduler"],
        trained_on=(train["train"], train["base"], train["recipe"]["seed"], train["recipe"]["learning_rate"]),
        rows=[of.described for of in rows],
        losses=losses,
    )


def main() -> None:
    """Measures what is missing, and prints one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="finished run folders")
    parser.add_argument("--held-out", type=Path, required=True, help="rows of a mix that nobody trained on")
    parser.add_argument("--questions", type=int, default=100, help="number of them")
    parser.add_argument("--num", type=int, default=3, help="checkpoints of an average")
    parser.add_argument("--state", type=Path, required=True, help="folder of averages and losses")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    runs, described = [], {}
    for path in arguments.runs:
        train = read_manifest(path)["train"]
        base, validation = Path(train["base_path"]), Path(train["mix_path"]) / "validation.jsonl"
        candidates = candidates_of(path, arguments.num, arguments.state / "averages" / path.name)
        rows = [
            read_rows("validation", validation, base, arguments.state),
            read_rows("held-out", arguments.held_out, base, arguments.state, arguments.questions),
        ]
        run = measure(path, candidates, rows, base, arguments.state)
        runs.append(run)
        described[run.name] = {
            "schedule": run.schedule,
            "made_of": candidates.made_of,
            "held_by_rank": round(candidates.held_by_rank, 5),
            "losses": run.means(),
            "rows": {of.kind: len(of.tasks) for of in run.rows},
        }
    command = (
        f"python -m benchmarks.real.averaging RUN... --held-out questions.jsonl --questions {arguments.questions} "
        f"--num {arguments.num} --state STATE"
    )
    print_result(command, runs=described, differences=differences(runs), schedules=schedule_differences(runs))


if __name__ == "__main__":
    main()
