"""Verifies a finished run: recomputes every hash that it has stored.

    for check in verify(Path("runs/200k")):
        print(check.what, check.is_fine)

Where it sits: beside the pipeline. It reads a run folder and needs neither model nor task files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import file_sha256, read_as
from core.manifest import read_manifest
from core.run_folder import CURATION, MIX, OWN, PREDICTIONS, ROWS, SAMPLES, SCORES, TASKS
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
    if (run / ROWS / DONE).is_file():
        yield from _verify_build(run)
        return
    digests: dict[str, str] = {}
    for name in ([OWN] if (run / OWN / DONE).is_file() else []) + list(CURATION):
        digests[name] = Marker.of(run / name).digest
        yield from _outputs(run, name)
        for key, before in _CHAIN.get(name, {}).items():
            fine = _inputs(run / name).get(key) == digests[before]
            yield Verified(
                what=f"{name} was made from {before}", is_fine=fine, detail="" if fine else "from another one"
            )
        yield from _tallies(run, name)
    manifest = read_as(_Manifest, run / MIX / "manifest.json")
    for name, digest in manifest.outputs.items():
        fine = (run / MIX / name).is_file() and file_sha256(run / MIX / name) == digest
        yield Verified(what=f"manifest: {name}", is_fine=fine, detail="" if fine else "not the file it names")
    for name, inputs in manifest.inputs.items():
        fine = _inputs(run / name) == inputs
        yield Verified(what=f"manifest: inputs of {name}", is_fine=fine, detail="" if fine else "not what it names")


def _outputs(run: Path, name: str) -> Iterator[Verified]:
    for file, (size, digest) in sorted(Marker.of(run / name).outputs.items()):
        path = run / name / file
        fine = path.is_file() and path.stat().st_size == size and file_sha256(path) == digest
        yield Verified(what=f"{name}/{file}", is_fine=fine, detail="" if fine else "missing or changed")


def _tallies(run: Path, name: str) -> Iterator[Verified]:
    for unit, tally in read_as(_Summary, run / name / SUMMARY).tallies.items():
        fine = tally.read == tally.kept + sum(tally.dropped.values())
        yield Verified(what=f"{name} {unit}s: kept + dropped = read", is_fine=fine, detail=str(asdict(tally)))


def _verify_build(run: Path) -> Iterator[Verified]:
    """The one stage of what `build` made, and its section of the manifest."""
    yield from _outputs(run, ROWS)
    yield from _tallies(run, ROWS)
    section = read_manifest(run).get("build", {})
    files = {name: found["sha256"] for name, found in section.get("files", {}).items()}
    for name, digest in files.items():
        path = run / ROWS / f"{name}.jsonl"
        fine = path.is_file() and file_sha256(path) == digest
        yield Verified(what=f"manifest: {name}", is_fine=fine, detail="" if fine else "not the file it names")
    fine = all(section.get(key) == value for key, value in _inputs(run / ROWS).items())
    yield Verified(what=f"manifest: inputs of {ROWS}", is_fine=fine, detail="" if fine else "not what it names")
