"""The load of the machine decides how threads wait."""

import os
import subprocess
import sys
import time

import pytest

from core import threads
from core.threads import choose_waiting, wanted_by_others


def test_threads_sleep_beside_processes_that_use_the_cores() -> None:
    if not os.path.exists("/proc/loadavg"):
        pytest.skip("this system has no /proc/loadavg")
    busy = [
        subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        for process in busy:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(0.1)
        with open("/proc/loadavg") as file:
            if file.read().split()[3].startswith(("0/", "1/")):
                pytest.skip("this system's /proc/loadavg does not count other threads")
        environment: dict[str, str] = {}
        choose_waiting(environment)
        assert environment == {"OMP_WAIT_POLICY": "passive"}
        assert wanted_by_others() >= len(busy)
    finally:
        for process in busy:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("runnable", "cores", "chosen"),
    [(1, 2, False), (2, 2, True), (3, 2, True), (8, 16, False), (9, 16, True), (1, 1, False), (2, 1, True)],
)
def test_half_of_the_cores_wanted_by_others_is_busy(
    runnable: int, cores: int, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_runnable", lambda: runnable)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    environment: dict[str, str] = {}
    choose_waiting(environment)
    assert bool(environment) is chosen


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_a_user_who_chose_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_runnable", lambda: 100)
    environment = {name: "something"}
    choose_waiting(environment)
    assert environment == {name: "something"}
