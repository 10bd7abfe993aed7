"""The run folder: stages with completion markers, atomic writes, and kept + dropped = read.

    >>> import tempfile, pathlib
    >>> stage = Stage(pathlib.Path(tempfile.mkdtemp()) / "01_tasks", inputs={"seed": 7})
    >>> stage.is_done
    False
    >>> stage.drop(Dropped(unit="task", id="task9", reason="language"))
    >>> stage.finish(Summary(tallies={"task": stage.tally("task", read=3, kept=2)}))
    >>> stage.is_done
    True

A stage is a folder. `inputs.json` is written when it starts, `done.json` when it ends. A folder that was made with
other inputs than those asked for is refused; it is neither reused nor overwritten silently.

Where it sits: at the bottom; every stage of the three packages uses it.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any, TypeVar

import orjson

from core.errors import StageError
from core.files import JSON_OPTIONS, as_json, file_sha256, make_folder, naming, read_as, sha256, write_json, write_jsonl

Details = TypeVar("Details")

OPT_SORT = orjson.OPT_SORT_KEYS
INPUTS, DONE, SUMMARY, DROPPED = "inputs.json", "done.json", "summary.json", "dropped.jsonl"
LOCK = ".lock"
_DROP_BUFFER_BYTES = 1 << 20
SCRATCH = "work"
"""Name of the folder for temporary files in a stage; it may be deleted at any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A record that was left out, with the reason. One line of `dropped.jsonl`."""

    unit: str
    """What was dropped: `task`, `instance`, `prediction`, `row`, `checkpoint`."""
    id: str
    reason: str
    """A short snake_case word; tallies count by it."""
    detail: str = ""
    source: str = ""
    """The task, file or data set that it comes from."""


_DROPPED_FIELDS = tuple(f.name for f in fields(Dropped))
"""`asdict` copies deeply, which takes longer than all else about a dropped record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many records of one unit a stage read, kept and dropped by reason."""

    read: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.read == self.kept + sum(self.dropped.values()), f"records went missing: {self}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a stage did. The same inputs give the same summary, byte for byte, because times stand in the marker."""

    tallies: Mapping[str, Tally] = field(default_factory=dict)
    details: Any = field(default_factory=dict)
    """A stage's own record, or a mapping; read it back with `read_details`."""


def read_details(kind: type[Details], directory: Path) -> Details:
    """The details of a finished stage's summary as the record that the stage defines.

    Raises:
        StageError: missing or damaged.
    """
    return read_as(kind, directory / SUMMARY, key="details")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What `done.json` holds."""

    outputs: Mapping[str, tuple[int, str]]
    """Size and hash of every file."""
    seconds: float

    @classmethod
    def of(cls, directory: Path) -> "Marker":
        """Of a finished stage.

        Raises:
            StageError: missing or damaged.
        """
        return read_as(cls, directory / DONE)

    @property
    def digest(self) -> str:
        """One hash over all outputs."""
        return sha256(orjson.dumps(self.outputs, option=OPT_SORT))


_NO_WORK = (INPUTS, SCRATCH, DROPPED)
"""The files of a stage that are not output: a stage that failed leaves only these."""

_NOT_OUTPUTS = (f"{SCRATCH}/", "output/")
"""Temporary files, and what a training run leaves: checkpoints are verified by their own seals."""


class Stage:
    """One numbered folder of a run.

    Args:
        directory: `runs/<name>/01_tasks`, ...
        inputs: Everything that decides the stage's output, JSON-able. Hashes, parameters, seeds.
        redo: Delete what the folder holds if it was made with other inputs.
    Raises:
        StageError: the folder holds the output, whole or partial, of other inputs. The message names them.
    """

    def __init__(self, directory: Path, *, inputs: Mapping[str, object], redo: bool = False) -> None:
        self.directory = directory
        self.inputs = as_json(inputs)
        self.started = time.monotonic()
        self.num_dropped: Counter[tuple[str, str]] = Counter()
        """By (unit, reason), of this attempt."""
        self._drops: bytearray | None = None
        self._redo = redo
        self._check_inputs()

    def _check_inputs(self) -> None:
        path = self.directory / INPUTS
        names = [p.name for p in self.directory.iterdir()] if self.directory.is_dir() else []
        has_work = any(name not in _NO_WORK and not name.endswith(".tmp") for name in names)
        stored = self._stored_inputs(path) if has_work and path.is_file() else None
        if stored is not None and stored != self.inputs:
            differ = setting_differences(stored, self.inputs)
            if not self._redo:
                raise StageError(
                    f"{self.directory}: made with other inputs ({'; '.join(differ)}). "
                    "Use another `run=` folder, or `redo=true` to throw this stage and those after it away."
                )
            self._throw_away()
        make_folder(self.directory)
        if stored != self.inputs:
            write_json(path, self.inputs)

    def _stored_inputs(self, path: Path) -> dict[str, object]:
        """The inputs it was made with; empty if that file is damaged and the stage may be redone."""
        try:
            return read_as(dict[str, object], path)
        except StageError:
            if not self._redo:
                raise
            return {}

    def _throw_away(self) -> None:
        """Removes this stage and the stages after it. Other folders of the run are left alone."""
        for path in sorted(self.directory.parent.iterdir()):
            if path.name >= self.directory.name and (path / INPUTS).is_file():
                if path.is_symlink():  # borrowed from another run
                    path.unlink()
                else:
                    shutil.rmtree(path)

    @property
    def name(self) -> str:
        """`01_tasks`, ..."""
        return self.directory.name

    @property
    def is_done(self) -> bool:
        """True if the stage finished with these inputs.

        Raises:
            StageError: an output file is missing or was changed since, and redoing was not asked for.
        """
        if not (self.directory / DONE).is_file():
            return False
        try:
            self._verify()
        except StageError:
            if not self._redo:
                raise
            self._throw_away()
            self._check_inputs()
            return False
        return True

    def _verify(self) -> None:
        for name, (size, digest) in Marker.of(self.directory).outputs.items():
            path = self.directory / name
            if not path.is_file() or path.stat().st_size != size or file_sha256(path) != digest:
                raise StageError(f"{path}: missing or changed since the stage ended. Restore it, or pass `redo=true`.")

    def path(self, name: str) -> Path:
        """A file of this stage."""
        return self.directory / name

    def summary(self) -> Summary:
        """The summary of the finished stage."""
        return read_as(Summary, self.directory / SUMMARY)

    def details(self, kind: type[Details]) -> Details:
        """The details of the finished stage's summary."""
        return read_details(kind, self.directory)

    def seconds(self) -> float:
        """Duration of the attempt that finished it."""
        return Marker.of(self.directory).seconds

    def output_digest(self) -> str:
        """One hash over all outputs: an input of the next stage."""
        return Marker.of(self.directory).digest

    def write_rows(self, name: str, rows: Iterable[Any]) -> int:
        """Writes records as JSON lines, atomically; returns how many."""
        return write_jsonl(self.directory / name, rows)

    def drop(self, record: Dropped) -> None:
        """Writes a record to `dropped.jsonl` and counts it."""
        if self._drops is None:
            self._drops = bytearray()
            self._scratch(DROPPED).write_bytes(b"")
        line = {"stage": self.name, **{name: getattr(record, name) for name in _DROPPED_FIELDS}}
        self._drops += orjson.dumps(line, option=JSON_OPTIONS)
        self.num_dropped[record.unit, record.reason] += 1
        if len(self._drops) >= _DROP_BUFFER_BYTES:
            self._flush_drops()

    def _flush_drops(self) -> None:
        with naming(self.path(DROPPED)), self._scratch(DROPPED).open("ab") as f:
            f.write(self._drops or b"")
            f.flush()
            os.fsync(f.fileno())
        self._drops = bytearray()

    def tally(self, unit: str, *, read: int, kept: int) -> Tally:
        """The tally of one unit; records read must equal records kept plus records dropped here."""
        dropped = {reason: n for (of, reason), n in sorted(self.num_dropped.items()) if of == unit}
        return Tally(read=read, kept=kept, dropped=dropped)

    def give_up(self) -> None:
        """Removes all output except `dropped.jsonl`, before the stage fails. It can then be run with other inputs."""
        self.keep_drops()
        for path in self.directory.iterdir():
            if path.name not in _NO_WORK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def keep_drops(self) -> None:
        """Publishes `dropped.jsonl`."""
        if self._drops is None:
            self._scratch(DROPPED).write_bytes(b"")
        else:
            self._flush_drops()
        self._scratch(DROPPED).replace(self.path(DROPPED))

    def _scratch(self, name: str) -> Path:
        return self.directory / f"{name}.tmp"

    def finish(self, summary: Summary, *, dropped: Iterable[Dropped] = ()) -> None:
        """Writes `dropped.jsonl`, `summary.json` and, last, the completion marker."""
        for record in dropped:
            self.drop(record)
        self.keep_drops()
        write_json(self.directory / SUMMARY, summary)
        files = {p.relative_to(self.directory).as_posix(): p for p in self.directory.rglob("*") if p.is_file()}
        outputs = {
            name: [p.stat().st_size, file_sha256(p)]
            for name, p in sorted(files.items())
            if name not in (DONE, INPUTS) and not name.endswith(".tmp") and not name.startswith(_NOT_OUTPUTS)
        }
        seconds = round(time.monotonic() - self.started, 3)
        write_json(self.directory / DONE, {"outputs": outputs, "seconds": seconds})


def setting_differences(stored: Mapping[str, object], asked: Mapping[str, object], prefix: str = "") -> list[str]:
    """`key: old -> new` for every leaf that differs between two JSON objects."""
    differing = []
    for key in sorted({*stored, *asked}):
        old, new = stored.get(key), asked.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            differing += setting_differences(old, new, f"{prefix}{key}.")
        elif old != new:
            differing.append(f"{prefix}{key}: {_short(old)} -> {_short(new)}")
    return differing


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:20] + "…"


def is_locked(run: Path) -> bool:
    """Whether a command is using the run at this moment."""
    try:
        with (run / LOCK).open("rb") as f:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def locked(run: Path, *, patience_s: float = 0.0) -> Iterator[int]:
    """Locks a run folder, so that one command at a time uses it.

    Args:
        patience_s: How long it waits for another command to end.

    Yields:
        The lock's file descriptor, which a child may inherit.

    Raises:
        StageError: another command uses the run, or it is not a folder.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as e:
        raise StageError(f"{run}: a file is in the place of this folder. Give another `run=`.") from e
    with (run / LOCK).open("ab") as f:
        try:
            _take(f, time.monotonic() + patience_s)
        except OSError as e:
            raise StageError(f"{run}: another oneday command is at work on this run. Wait for it, or stop it.") from e
        yield f.fileno()


def _take(file: IO[bytes], until: float) -> None:
    """Tries several times, because `is_locked` holds the lock for microseconds."""
    tries = 0
    while (tries := tries + 1) <= 4 or time.monotonic() < until:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.02)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
