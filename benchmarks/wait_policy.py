"""Effect of OpenMP's wait policy on a training step and on generation, on idle cores and beside busy processes.

    python benchmarks/wait_policy.py [--busy 0 1 2] [--rounds 3]

A waiting thread may spin for long (libgomp's default), sleep at once (`OMP_WAIT_POLICY=passive`), or spin briefly and
then sleep (`GOMP_SPINCOUNT`). oneday takes the first on idle cores and the second on busy ones (core/threads.py). Each
round starts one process per policy in turn, beside so many processes that keep a core busy. Prints one JSON line:
median seconds of a training step and of generating 16 tokens with the demo's base, and the ratios to libgomp's default.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

NUM_STEPS, NUM_GENERATED = 25, 15
ROOT = Path(__file__).parent.parent
POLICIES = {
    "unset": {"OMP_WAIT_POLICY": ""},  # an empty value keeps `choose_waiting` from setting anything
    "passive": {"OMP_WAIT_POLICY": "passive"},
    **{f"spin_{n}": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": str(n)} for n in (10_000, 1_000, 100)},
}


def measure() -> dict[str, float]:
    """Times a QLoRA step of 2 x 512 tokens, and 16 greedy tokens for 8 prompts, in the child process."""
    sys.path.insert(0, str(ROOT))
    import torch
    from peft import LoraConfig, get_peft_model

    from core.model.language_model import LanguageModel
    from oneday.demo.demo import DEMO_BASE

    torch.set_num_threads(os.cpu_count() or 1)
    base_model = LanguageModel.load(DEMO_BASE, precision="4bit")
    prompts = [f"### Instruction:\nSay {n}.\n\n### Response:\n" for n in range(8)]
    base_model.generate(prompts, max_new_tokens=2)
    generated = []
    for _ in range(NUM_GENERATED):
        started = time.perf_counter()
        base_model.generate(prompts, max_new_tokens=16)
        generated.append(time.perf_counter() - started)
    model = get_peft_model(base_model.model, LoraConfig(r=32, lora_alpha=64, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    ids = torch.randint(10, 500, (2, 512), generator=torch.Generator().manual_seed(0))
    steps = []
    for _ in range(1 + NUM_STEPS):
        started = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        steps.append(time.perf_counter() - started)
    return {"step_s": statistics.median(steps[1:]), "generate_s": statistics.median(generated)}


def measure_in_child(policy: str) -> dict[str, float]:
    """Measures one policy in a process of its own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, str(Path(__file__).resolve()), "--measure"]
    done = subprocess.run(command, env={**clean, **POLICIES[policy]}, capture_output=True, text=True, check=True)
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main() -> None:
    """Runs the benchmark and prints its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="number of busy processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
        return
    line: dict[str, object] = {"benchmark": "wait_policy", "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    for num in options.busy:
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(num)]
        try:
            rounds = [{policy: measure_in_child(policy) for policy in POLICIES} for _ in range(options.rounds)]
        finally:
            for other in others:
                other.kill()
                other.wait()
        medians = {
            policy: {name: round(statistics.median(r[policy][name] for r in rounds), 4) for name in rounds[0][policy]}
            for policy in POLICIES
        }
        ratios = {
            f"{policy}_over_unset": {name: round(seconds[name] / medians["unset"][name], 3) for name in seconds}
            for policy, seconds in medians.items()
            if policy != "unset"
        }
        line[f"busy_{num}"] = {**medians, **ratios}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
