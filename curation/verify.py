"""Verify: recomputes every hash that a finished run has written down.

    for check in verify(Path("runs/200k")):
        print(check.what, check.is_fine)

Where it sits: beside the pipeline; it reads a run folder and needs neither model nor task files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from curation.own_data import OWN
from curation.stage import DONE, INPUTS, OPT_SORT, SUMMARY, file_sha256, read_json, sha256
from curation.stages.context import MIX, PREDICTIONS, SAMPLES, SCORES, STAGES, TASKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One hash, recomputed."""

    what: str
    is_fine: bool
    detail: str = ""


_CHAIN = {
    PREDICTIONS: {"tasks": TASKS},
    SCORES: {"predictions": PREDICTIONS},
    SAMPLES: {"tasks": TASKS, "scores": SCORES},
    MIX: {"samples": SAMPLES},
}
"""Stage -> the inputs that are another stage's output."""


def verify(run: Path) -> Iterator[Verified]:
    """Every output of every stage, every stage's inputs against the stage before, every count, the manifest.

    Raises:
        StageError: a stage is not finished.
    """
    digests: dict[str, str] = {}
    for name in ([OWN] if (run / OWN / DONE).is_file() else []) + list(STAGES):
        outputs = read_json(run / name / DONE)["outputs"]
        digests[name] = sha256(orjson.dumps(outputs, option=OPT_SORT))
        for file, (size, digest) in sorted(outputs.items()):
            path = run / name / file
            fine = path.is_file() and path.stat().st_size == size and file_sha256(path) == digest
            yield Verified(what=f"{name}/{file}", is_fine=fine, detail="" if fine else "missing or changed")
        for key, before in _CHAIN.get(name, {}).items():
            fine = read_json(run / name / INPUTS)[key] == digests[before]
            yield Verified(
                what=f"{name} was made from {before}", is_fine=fine, detail="" if fine else "from another one"
            )
        for unit, tally in read_json(run / name / SUMMARY)["tallies"].items():
            fine = tally["read"] == tally["kept"] + sum(tally["dropped"].values())
            yield Verified(what=f"{name} {unit}s: kept + dropped = read", is_fine=fine, detail=str(tally))
    manifest = read_json(run / MIX / "manifest.json")
    for name, digest in manifest["outputs"].items():
        fine = file_sha256(run / MIX / name) == digest
        yield Verified(what=f"manifest: {name}", is_fine=fine, detail="" if fine else "not the file it names")
    for name, inputs in manifest["inputs"].items():
        fine = read_json(run / name / INPUTS) == inputs
        yield Verified(what=f"manifest: inputs of {name}", is_fine=fine, detail="" if fine else "not what it names")
