"""Shared fixtures: real data, the demo base, a small mix, and a fork server that has imported Axolotl."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from oneday.demo.demo import DEMO_BASE

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores; torch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# the time of an example depends on the machine
settings.register_profile("oneday", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("oneday")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
REDUCED = Path(__file__).parent / "data" / "real"


@pytest.hookimpl(tryfirst=True)  # before `-m` selects by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests that read whole real files as slow, and gives every test its group of xdist.

    The tests of a file are one group, and all tests that start the real Axolotl are one. The longest run first.
    """
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not _starts_axolotl(item), item.path not in slow))
    for item in items:
        group = "axolotl" if _starts_axolotl(item) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names byte parameters by their length, because compressed bytes may differ between two processes."""
    return f"{len(val)}_bytes" if isinstance(val, bytes) else None


def _starts_axolotl(item: pytest.Item) -> bool:
    return "axolotl" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real files, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no data folder at {SHARED}: this test needs the real files, whole")
    return SHARED


@pytest.fixture(scope="session", params=["reduced", pytest.param("whole", marks=pytest.mark.slow)])
def real_data(request: pytest.FixtureRequest) -> Path:
    """Folder with real files: first the reduced ones of the repository, then the whole ones if they exist."""
    if request.param == "reduced":
        return REDUCED
    whole: Path = request.getfixturevalue("shared_data")
    return whole


@pytest.fixture(scope="session")
def demo_base() -> Path:
    return DEMO_BASE


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run that was not trained. Tests that change it copy it with `copy_run`."""
    from tests.oneday.finished_run import write_finished_run

    return write_finished_run(tmp_path_factory.mktemp("finished") / "run")


def copy_run(run: Path, to: Path) -> Path:
    """Copies a run folder with its links."""
    return Path(shutil.copytree(run, to, symlinks=True))


def write_small_mix(folder: Path, num_train: int = 60, num_validation: int = 12) -> Path:
    """Writes a small mix of distinct rows of two tasks that a tiny run can learn."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["hot", "cold", "big", "small", "fast", "slow", "early", "late", "open", "closed", "full", "empty"]
    rows = [
        {
            "id": f"row-{n}",
            "source": "test",
            "task": f"task{n % 2}",
            "licence": "Apache 2.0",
            "instruction": ("Write the last word.", "Write the first word.")[n % 2],
            "input": f"{words[n % 12]} {n} {words[(n * 5 + 1) % 12]}",
            "output": (words[(n * 5 + 1) % 12], words[n % 12])[n % 2],
        }
        for n in range(num_train + num_validation)
    ]
    for name, part in (("train", rows[:num_train]), ("validation", rows[num_train:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    return folder


@pytest.fixture
def write_mix(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small mix into the test's own folder."""
    return lambda *sizes: write_small_mix(tmp_path / "05_mix", *sizes)


class ForkedChild:
    """A child of the fork server, with the interface of `harness.axolotl_process.Child`."""

    def __init__(self, pid: int, exit_file: Path) -> None:
        self.pid, self._exit_file = pid, exit_file

    def poll(self) -> int | None:
        if self._exit_file.is_file() and (text := self._exit_file.read_text()):
            return int(text)
        return None

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        while (code := self.poll()) is None:
            if time.monotonic() >= until:
                raise subprocess.TimeoutExpired("axolotl", timeout or 0)
            time.sleep(0.02)
        return code


@contextlib.contextmanager
def forked_axolotl(folder: Path) -> Iterator[Callable[..., ForkedChild]]:
    """A launcher of the real Axolotl that forks instead of importing it again: 4 s a run instead of 15.

    Args:
        folder: Gets the server's log and the exit codes of its children.
    """
    environment = {**os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"NUMBA_DISABLE_JIT": "1", "AXOLOTL_DATASET_NUM_PROC": "0", "TOKENIZERS_PARALLELISM": "false"}
    log = (folder / "server.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).parent / "fork_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    stdin, stdout = server.stdin, server.stdout
    # wait here, so that the imports are not charged to a run
    assert stdout.readline() == "ready\n", (folder / "server.log").read_text()
    number = 0

    def launch(config: Path, log: Path, environment: Mapping[str, str]) -> ForkedChild:
        nonlocal number
        number += 1
        exit_file = folder / f"exit-{number}"
        request = {"config": str(config), "log": str(log), "exit_file": str(exit_file), "env": dict(environment)}
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, (folder / "server.log").read_text()
        return ForkedChild(int(line), exit_file)

    yield launch
    stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(timeout=10)
    if server.poll() is None:
        server.send_signal(signal.SIGKILL)
        server.wait()
    stdout.close()
    log.close()


@pytest.fixture(scope="session")
def axolotl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ForkedChild]]:
    """The real Axolotl, which all tests of a process share."""
    with forked_axolotl(tmp_path_factory.mktemp("forkserver")) as launch:
        yield launch
