"""A torch-free child that speaks the plugin's protocol. Behaviour comes from FAKE_* in the environment.

FAKE_STEPS       steps before it ends (default 3), 0.05 s each
FAKE_SAVE        steps at which a checkpoint is saved, by comma
FAKE_UNMEASURED  steps whose checkpoint has no loss
    FAKE_END         `clean`, `hang` (deaf to SIGTERM), `crash`, or `silent` (exit 0 without a sign of life)
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

from harness.checkpoint import ADAPTER_FILES, RESUME_FILES, seal


def main() -> int:
    cfg = yaml.safe_load(Path(sys.argv[1]).read_text())
    ending = os.environ.get("FAKE_END", "clean")
    if ending == "silent":
        return 0
    events = Path(cfg["oneday_events"]).open("a", buffering=1)  # noqa: SIM115
    stopped = False

    def emit(event: str, **fields: object) -> None:
        events.write(json.dumps({"event": event, "t": time.time(), "pid": os.getpid(), **fields}) + "\n")

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, signal.SIG_IGN if ending == "hang" else stop)
    emit("registered")
    emit("plugin_alive")
    emit("train_begin", step=0, max_steps=100)
    saves = {int(s) for s in os.environ.get("FAKE_SAVE", "1").split(",") if s}
    step = 0
    for step in range(1, int(os.environ.get("FAKE_STEPS", "3")) + 1):
        time.sleep(0.05)
        emit("step", step=step, loss=1.0 / step, tokens=100 * step, horizon=100)
        if step in saves:
            folder = Path(cfg["output_dir"]) / f"checkpoint-{step}"
            folder.mkdir(parents=True, exist_ok=True)
            for name in (*ADAPTER_FILES, *RESUME_FILES):
                (folder / name).write_text(name)
            measured = str(step) not in os.environ.get("FAKE_UNMEASURED", "").split(",")
            emit("evaluate", step=step, validation_loss=1.0 / step, seconds=0.01)
            seal(folder, step=step, validation_loss=1.0 / step if measured else None)
            emit("save", step=step, seconds=0.01, deleted=[])
        if stopped:
            break
    if ending == "crash":
        print("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB", flush=True)
        return 1
    while ending == "hang":
        time.sleep(0.1)
    costs = {"step_s": 0.05, "mean_step_s": 0.05, "eval_s": 0.01, "save_s": 0.01, "peak_memory_gib": None}
    emit("train_end", step=step, because="signal" if stopped else "epochs", **costs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
