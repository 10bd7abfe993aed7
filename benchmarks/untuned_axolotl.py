"""Time of start-up, evaluation and save: the `axolotl train` command against ours, on the same small CPU job.

    python benchmarks/untuned_axolotl.py [--steps 60] [--rounds 3]

Both train the demo's base on the same synthetic rows, and every 20 steps evaluate 64 rows and save. The peer is
`axolotl train` with default settings, except telemetry off and offline mode (with telemetry on and no network it hung)
and a plugin that records times. Ours is the child process that a run starts. Prints one JSON line: medians of
interleaved rounds, in seconds, and the ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.plain_axolotl import ROOT, documents, write_mix
from harness.axolotl_process import axolotl_environment
from harness.budget.clock import uptime
from harness.budget.gpu_profile import get_gpu_profile
from harness.inside.events import Evaluation, EventReader, Phase, Save

EVAL_EVERY_STEPS = 20

if os.environ.get("UNTUNED_LOG"):
    from axolotl.integrations.base import BasePlugin
    from transformers import TrainerCallback

    from core.model.libraries import disable_cpu_repack

    class TimeRecorder(TrainerCallback):  # type: ignore[misc,unused-ignore]
        """Records the time of each step, evaluation and save."""

        def _record(self, event: str, step: int) -> None:
            with Path(os.environ["UNTUNED_LOG"]).open("a") as f:
                f.write(json.dumps({"event": event, "step": step, "up": uptime()}) + "\n")

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Records the end of a step."""
            self._record("step", state.global_step)

        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Records the end of an evaluation."""
            self._record("evaluate", state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Records the end of a save."""
            self._record("save", state.global_step)

    class RecorderPlugin(BasePlugin):  # type: ignore[misc,unused-ignore]
        """Adds the recording callback, and disables the repacking of 4-bit weights, which would change the job."""

        def post_model_build(self, cfg: Any, model: Any) -> None:
            """Disables the repacking, as our plugin does."""
            disable_cpu_repack(model)

        def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[Any]:
            """Adds the recording callback."""
            return [TimeRecorder()]


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Runs a command and returns its start and end on the uptime clock."""
    started = uptime()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout[-3_000:] + done.stderr[-3_000:])
    return started, uptime()


def measure_untuned(folder: Path, document: dict[str, Any]) -> dict[str, float]:
    """Measures `axolotl train`."""
    for key in ("dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_pin_memory", "max_steps"):
        steps = document.pop(key)
    document |= {
        "plugins": ["benchmarks.untuned_axolotl.RecorderPlugin"], "max_steps": steps, "eval_steps": EVAL_EVERY_STEPS,
        "save_steps": EVAL_EVERY_STEPS, "save_strategy": "steps",
        "dataset_prepared_path": str(folder / "prepared_plain"),
    }  # fmt: skip
    (folder / "plain.yml").write_text(yaml.safe_dump(document))
    log = folder / "plain.jsonl"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "NUMBA_", "TOKENIZERS_"))}
    clean |= {"AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    clean |= {"PYTHONPATH": str(ROOT), "UNTUNED_LOG": str(log), "CUDA_VISIBLE_DEVICES": ""}
    tools = Path(sys.executable).parent  # `axolotl` starts `accelerate` by its name
    clean["PATH"] = f"{tools}:{os.environ['PATH']}"
    started, finished = run([str(tools / "axolotl"), "train", str(folder / "plain.yml")], clean)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    steps_at = {e["step"]: e["up"] for e in events if e["event"] == "step"}
    evaluated = {e["step"]: e["up"] for e in events if e["event"] == "evaluate" and e["step"]}
    saved = {e["step"]: e["up"] for e in events if e["event"] == "save"}
    return {
        "first_step_s": steps_at[1] - started,
        "evaluation_s": statistics.median(at - steps_at[step] for step, at in evaluated.items()),
        "save_s": statistics.median(at - evaluated[step] for step, at in saved.items() if step in evaluated),
        "whole_s": finished - started,
    }


def measure_ours(folder: Path, document: dict[str, Any]) -> dict[str, float]:
    """Measures the child process that `oneday train` starts."""
    document |= {"eval_steps": EVAL_EVERY_STEPS, "save_steps": EVAL_EVERY_STEPS}
    (folder / "ours.yml").write_text(yaml.safe_dump(document))
    environment = {**os.environ, **axolotl_environment(get_gpu_profile("cpu")), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "harness.inside.main", str(os.getpid()), str(folder / "ours.yml")]
    started, finished = run(command, environment)
    events = list(EventReader(folder / "events.jsonl", from_start=True).read())
    first = next(e for e in events if isinstance(e, Phase))  # the first step ends where the evaluation after it begins
    return {
        "first_step_s": first.up - started,
        "evaluation_s": statistics.median(e.seconds for e in events if isinstance(e, Evaluation)),
        "save_s": statistics.median(e.seconds for e in events if isinstance(e, Save)),
        "whole_s": finished - started,
    }


def main() -> None:
    """Runs the benchmark and prints its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    measurements: dict[str, list[dict[str, float]]] = {"untuned": [], "ours": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_mix(folder / "mix")
            our_document, plain = documents(folder, arguments.steps)
            measurements["untuned"].append(measure_untuned(folder, plain))
            measurements["ours"].append(measure_ours(folder, our_document))
    medians = {
        contender: {name: round(statistics.median(r[name] for r in rounds), 3) for name in rounds[0]}
        for contender, rounds in measurements.items()
    }
    ratios = {name: round(medians["untuned"][name] / medians["ours"][name], 2) for name in medians["ours"]}
    print(json.dumps({"steps": arguments.steps, "rounds": arguments.rounds, **medians, "ratio": ratios}))


if __name__ == "__main__":
    main()
