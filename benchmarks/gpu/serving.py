"""The server's requests/s with 16 and 64 clients against one `generate` at a time, as the 2023 winner's server did.

    python -m benchmarks.gpu.serving [--rounds 3] [--tiny]

Mistral-7B's sizes in 4 bits with an adapter of rank 128, greedy answers of 48 tokens. Ours is `oneday serve` as it
comes, over HTTP; the other one calls `generate` in this process, which spares it HTTP. Rounds are interleaved.
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
ONE_AT_A_TIME = 3
"""Requests of a round that are answered one after the other: each takes a second or more."""


def write_adapter(folder: Path, base: Path) -> Path:
    """A random adapter on all linears, in bf16, as PEFT saves it."""
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


def one_at_a_time(model: LanguageModel, prompts: list[str], new_tokens: int) -> float:
    """Requests/s."""
    begun = time.perf_counter()
    for prompt in prompts:
        model.generate([prompt], max_new_tokens=new_tokens)
    return len(prompts) / (time.perf_counter() - begun)


def at_once(url: str, prompts: list[str], clients: int, new_tokens: int) -> float:
    """Requests/s."""
    begun = time.perf_counter()
    ask(url, prompts, max_new_tokens=new_tokens, at_once=clients)
    return len(prompts) / (time.perf_counter() - begun)


def measure(setting: Setting, rounds: int) -> None:
    """A line for each round, then the medians."""
    new_tokens = 4 if setting.tiny else NEW_TOKENS
    rows = list(read_jsonl(setting.mix / "validation.jsonl"))
    prompts = [row["instruction"] + " " + row["input"][:600] for row in rows]
    adapter = write_adapter(setting.work / "adapter", setting.base)
    rates: dict[str, list[float]] = {"one_at_a_time": [], **{f"clients_{n}": [] for n in CLIENTS}}
    with ThreadPoolExecutor(1) as aside:  # both load at once
        loading = aside.submit(LanguageModel.load, setting.base, lora_adapter=adapter, precision="4bit")
        served = ServeRequest(checkpoint=adapter, base=setting.base, precision="4bit")
        with local_server(served, log=setting.work / "server.log") as url:
            model = loading.result()
            one_at_a_time(model, prompts[:1], 4)
            at_once(url, prompts[: max(CLIENTS)], max(CLIENTS), 4)
            setting.lines.write(measured="ready", after_s=setting.whole_s - setting.left_s)
            round_s = 0.0
            for number in range(rounds):
                left_s = setting.left_s
                if left_s < 1.3 * round_s + 3:
                    setting.lines.write(measured="rounds", done=number, stopped=f"{left_s:.0f} s left")
                    break
                rates["one_at_a_time"].append(one_at_a_time(model, prompts[:ONE_AT_A_TIME], new_tokens))
                for clients in CLIENTS:
                    asked = (prompts * clients)[:clients]
                    rates[f"clients_{clients}"].append(at_once(url, asked, clients, new_tokens))
                latest = {who: found[-1] for who, found in rates.items()}
                setting.lines.write(measured="requests_per_s", round=number, **latest)
                round_s = left_s - setting.left_s
    medians = {who: median(found) for who, found in rates.items() if found}
    summary: dict[str, Any] = {"measured": "serving", "new_tokens": new_tokens, "lora_r": LORA_R, "medians": medians}
    if medians:
        alone = medians["one_at_a_time"]
        summary["to_one_at_a_time"] = {who: rate / alone for who, rate in medians.items()}
    setting.lines.write(**summary)


def main() -> None:
    """Both, in turn."""
    parser = arguments(__doc__, part="serving")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    measure(prepare(options), 1 if options.tiny else options.rounds)


if __name__ == "__main__":
    main()
