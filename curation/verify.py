"""Verifies a finished run: recomputes every hash that it has stored.

    for check in verify(Path("runs/200k")):
        print(check.what, check.is_fine)

Where it sits: beside the pipeline. It reads a run folder and needs neither model nor task files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import file_sha256, read_as
from core.run_folder import CURATION, MIX, OWN, PREDICTIONS, SAMPLES, SCORES, TASKS
from core.stage import DONE, INPUTS, SUMMARY, Marker


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One hash, recomputed."""

    what: str
    is_fine: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tally:
    """A tally as it is stored. `core.stage.Tally` refuses one that does not add up; here it is reported."""

    read: int
    kept: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Summary:
    tallies: Mapping[str, _Tally]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    outputs: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, object]]


def _inputs(stage: Path) -> Mapping[str, object]:
    """What a stage was made with; its values are only compared."""
    return read_as(dict[str, object], stage / INPUTS)


_CHAIN = {
    PREDICTIONS: {"tasks": TASKS},
    SCORES: {"predictions": PREDICTIONS},
    SAMPLES: {"tasks": TASKS, "scores": SCORES},
    MIX: {"samples": SAMPLES},
}
"""Stage -> the inputs that are another stage's output."""


def verify(run: Path) -> Iterator[Verified]:
    """Checks every output of every stage, every stage's inputs against the stage before, every count, the manifest.

    Raises:
        StageError: a stage is not finished, or its marker, summary or manifest is damaged.
    """
    digests: dict[str, str] = {}
    for name in ([OWN] if (run / OWN / DONE).is_file() else []) + list(CURATION):
        marker = Marker.of(run / name)
        digests[name] = marker.digest
        for file, (size, digest) in sorted(marker.outputs.items()):
            path = run / name / file
            fine = path.is_file() and path.stat().st_size == size and file_sha256(path) == digest
            yield Verified(what=f"{name}/{file}", is_fine=fine, detail="" if fine else "missing or changed")
        for key, before in _CHAIN.get(name, {}).items():
            fine = _inputs(run / name).get(key) == digests[before]
            yield Verified(
                what=f"{name} was made from {before}", is_fine=fine, detail="" if fine else "from another one"
            )
        for unit, tally in read_as(_Summary, run / name / SUMMARY).tallies.items():
            fine = tally.read == tally.kept + sum(tally.dropped.values())
            yield Verified(what=f"{name} {unit}s: kept + dropped = read", is_fine=fine, detail=str(asdict(tally)))
    manifest = read_as(_Manifest, run / MIX / "manifest.json")
    for name, digest in manifest.outputs.items():
        fine = (run / MIX / name).is_file() and file_sha256(run / MIX / name) == digest
        yield Verified(what=f"manifest: {name}", is_fine=fine, detail="" if fine else "not the file it names")
    for name, inputs in manifest.inputs.items():
        fine = _inputs(run / name) == inputs
        yield Verified(what=f"manifest: inputs of {name}", is_fine=fine, detail="" if fine else "not what it names")
