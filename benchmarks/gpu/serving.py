"""Requests/s of the server with 16 and 64 clients against one `generate` at a time, as in the 2023 winner's server.

    python -m benchmarks.gpu.serving [--rounds 3] [--tiny]

The model has Mistral-7B's sizes in 4 bits with an adapter of rank 128, and gives greedy answers of 48 tokens. Our side
is `oneday serve` with default settings, over HTTP. The other side calls `generate` in this process, without the cost of
HTTP. Rounds are interleaved.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu.setting import Setting, arguments, prepare
from core.files import read_jsonl
from core.model.language_model import LanguageModel
from harness.budget.memory import ModelShape
from oneday.local_server import ask, local_server
from oneday.requests.submission import ServeRequest

LORA_R = 128
CLIENTS = (16, 64)
NEW_TOKENS = 48
NUM_SEQUENTIAL = 3
"""Number of sequential requests per round; each takes a second or more."""


def write_adapter(folder: Path, base: Path) -> Path:
    """Writes a random adapter on all linears, in bf16 and PEFT's format."""
    import torch
    from safetensors.torch import save_file

    if (folder / "adapter_config.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shape = ModelShape.of(base)
    names = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")]
    weights = {}
    for layer in range(shape.layers):
        for name, (width_in, width_out) in zip(names, shape.linears, strict=True):
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            weights[f"{prefix}.lora_A.weight"] = torch.empty(LORA_R, width_in, dtype=torch.bfloat16).normal_(std=0.02)
            weights[f"{prefix}.lora_B.weight"] = torch.empty(width_out, LORA_R, dtype=torch.bfloat16).normal_(std=5e-3)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": LORA_R, "lora_alpha": 2 * LORA_R, "lora_dropout": 0.05,
        "target_modules": [name.rpartition(".")[2] for name in names], "bias": "none", "inference_mode": True,
        "base_model_name_or_path": str(base),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def sequential_rate(model: LanguageModel, prompts: list[str], new_tokens: int) -> float:
    """Returns the requests/s of sequential calls of `generate`."""
    started = time.perf_counter()
    for prompt in prompts:
        model.generate([prompt], max_new_tokens=new_tokens)
    return len(prompts) / (time.perf_counter() - started)


def concurrent_rate(url: str, prompts: list[str], clients: int, new_tokens: int) -> float:
    """Returns the requests/s of the server with `clients` requests at once."""
    started = time.perf_counter()
    ask(url, prompts, max_new_tokens=new_tokens, at_once=clients)
    return len(prompts) / (time.perf_counter() - started)


def measure(setting: Setting, rounds: int) -> None:
    """Writes a line for each round, then the medians."""
    new_tokens = 4 if setting.tiny else NEW_TOKENS
    rows = list(read_jsonl(setting.mix / "validation.jsonl"))
    prompts = [row["instruction"] + " " + row["input"][:600] for row in rows]
    adapter = write_adapter(setting.work / "adapter", setting.base)
    rates: dict[str, list[float]] = {"one_at_a_time": [], **{f"clients_{n}": [] for n in CLIENTS}}
    with ThreadPoolExecutor(1) as executor:  # both models load at the same time
        loading = executor.submit(LanguageModel.load, setting.base, lora_adapter=adapter, precision="4bit")
        request = ServeRequest(checkpoint=adapter, base=setting.base, precision="4bit")
        with local_server(request, log=setting.work / "server.log") as url:
            model = loading.result()
            sequential_rate(model, prompts[:1], 4)
            concurrent_rate(url, prompts[: max(CLIENTS)], max(CLIENTS), 4)
            setting.lines.write(measured="ready", after_s=setting.whole_s - setting.left_s)
            round_s = 0.0
            for number in range(rounds):
                left_s = setting.left_s
                if left_s < 1.3 * round_s + 3:
                    setting.lines.write(measured="rounds", done=number, stopped=f"{left_s:.0f} s left")
                    break
                rates["one_at_a_time"].append(sequential_rate(model, prompts[:NUM_SEQUENTIAL], new_tokens))
                for clients in CLIENTS:
                    round_prompts = (prompts * clients)[:clients]
                    rates[f"clients_{clients}"].append(concurrent_rate(url, round_prompts, clients, new_tokens))
                latest = {name: values[-1] for name, values in rates.items()}
                setting.lines.write(measured="requests_per_s", round=number, **latest)
                round_s = left_s - setting.left_s
    medians = {name: median(values) for name, values in rates.items() if values}
    summary: dict[str, Any] = {"measured": "serving", "new_tokens": new_tokens, "lora_r": LORA_R, "medians": medians}
    if medians:
        sequential = medians["one_at_a_time"]
        summary["to_one_at_a_time"] = {name: rate / sequential for name, rate in medians.items()}
    setting.lines.write(**summary)


def main() -> None:
    """Measures both sides."""
    parser = arguments(__doc__, part="serving")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    measure(prepare(options), 1 if options.tiny else options.rounds)


if __name__ == "__main__":
    main()
