"""Few-shot answers of a small real model on a CPU: `core/generation` against what people would use.

    python -m benchmarks.real.asking --base smollm2-135m --tasks natural-instructions/tasks --state runs/asking
    python -m benchmarks.real.asking --state runs/asking --report                # what stands by now

Four contenders answer the same prompts with the same fp32 weights, threads and stop string, greedily: `one_by_one`
(transformers' `generate`, one prompt at a time), `batches` (the same in batches of 32 prompts of similar length, padded
on the left), `llama_cpp` (llama-cpp-python, which keeps the longest prefix that a prompt shares with the one before;
prompts in the order of tasks), and `oneday`. llama.cpp runs where `make export-test` has installed it, in `.llama`.

They take turns, block after block of whole tasks, and the first one of a block rotates. Seconds of CPU are counted
besides the clock's, because they depend less on other work. The same command goes on after a kill, at the block where
it was. Prints one JSON line.
"""

import argparse
import json
import logging
import os
import random
import statistics
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.real.division import DivisionParameters
from benchmarks.real.result import print_result
from benchmarks.real.selection import State, Unit
from core.example.prompt import cut_at_stop
from core.files import make_folder, read_json, sha256, write_json
from core.generation.request import Kind, Request
from core.generation.transformers import TransformersPredictor
from core.model.folder import model_fingerprint
from core.model.token_ids import encode
from curation.ni.few_shot import PromptParameters, build_requests
from curation.ni.kind import kind_of
from curation.ni.task import read_task, task_paths
from submission.environment import tool
from submission.export.gguf import write_gguf
from submission.export.llama_cpp.program import LLAMA_CPP

logger = logging.getLogger("asking")

T = TypeVar("T")
SEED = 2026
BATCH_SIZE = 32
PEER = "one_by_one"
SCRIPT = Path(__file__).parent / "asking_llama_cpp.py"
LLAMA = Path(__file__).parents[2] / ".llama"


def requests(tasks: Path, num: int, per_task: int, fits: Any) -> list[Request]:
    """Prompts of random tasks, so many of each, in the order of tasks."""
    paths = task_paths([tasks])
    random.Random(SEED).shuffle(paths)
    found: list[Request] = []
    for path in paths:
        if len(found) >= num:
            break
        task = read_task(path).task
        usable = [i for i in task.instances if i.input.strip() and len(i.input) <= DivisionParameters().longest_input]
        random.Random(f"asking-{SEED}-{task.name}").shuffle(usable)
        kind = kind_of(task).kind
        found += build_requests(task, kind, usable[:per_task], PromptParameters(), fits, lambda dropped: None)
    return found[:num]


class Contender(ABC):
    """A way to answer prompts."""

    def __init__(self, base: Path) -> None:
        self.base = base

    @abstractmethod
    def answers(self, asked: Sequence[Request]) -> list[str]:
        """In the order of the requests."""

    def ready(self) -> None:
        """Loads the weights, and answers once so that nothing is done for the first time when time is taken."""
        warm = Request(
            task="warm", id="0", kind=Kind.GENERATION, prompt="Say hello.\n", num_shared=0, num_shots=0,
            references=("",), max_new_tokens=4, stop=("\n\n",),
        )  # fmt: skip
        self.answers([warm, warm])

    def cpu_s(self) -> float:
        """Seconds of CPU so far."""
        return time.process_time()


class Transformers(Contender):
    """`generate` of transformers, as its documentation shows it."""

    def __init__(self, base: Path, batch_size: int) -> None:
        super().__init__(base)
        self._batch_size = batch_size

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.base, local_files_only=True, padding_side="left")
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        return AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32, local_files_only=True), tokenizer

    def answers(self, asked: Sequence[Request]) -> list[str]:
        """In batches of prompts of similar length and answers of the same limit."""
        order = sorted(range(len(asked)), key=lambda n: (asked[n].max_new_tokens, len(asked[n].prompt)))
        found: dict[int, str] = {}
        for limit in sorted({r.max_new_tokens for r in asked}):
            numbers = [n for n in order if asked[n].max_new_tokens == limit]
            for batch in _parts(numbers, self._batch_size):
                found |= zip(batch, self._batch([asked[n] for n in batch]), strict=True)
        return [found[n] for n in range(len(asked))]

    def _batch(self, asked: Sequence[Request]) -> list[str]:
        import torch

        model, tokenizer = self._loaded
        inputs = tokenizer([r.prompt for r in asked], return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                max_new_tokens=asked[0].max_new_tokens,
                do_sample=False,
                stop_strings=list(asked[0].stop),
                tokenizer=tokenizer,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        return [cut_at_stop(text, asked[0].stop) for text in new]


class OneDay(Contender):
    """This project's predictor."""

    @cached_property
    def predictor(self) -> TransformersPredictor:
        """Loaded when it is first used."""
        return TransformersPredictor(self.base, batch_size=BATCH_SIZE)

    def answers(self, asked: Sequence[Request]) -> list[str]:
        """All at once, as `oneday curate` asks."""
        return self.predictor.complete(asked)


class LlamaCppPython(Contender):
    """llama-cpp-python on a GGUF file of the same weights in fp32, in an environment and a process of its own."""

    def __init__(self, base: Path, gguf: Path, threads: int) -> None:
        super().__init__(base)
        self._gguf = gguf
        self._threads = threads
        self._cpu_s = 0.0

    @cached_property
    def _process(self) -> "subprocess.Popen[str]":
        if not self._gguf.is_file():
            make_folder(self._gguf.parent)
            write_gguf(self.base, self._gguf, kind="f32", name=self.base.name)
        command = [str(tool(LLAMA, "python")), str(SCRIPT), str(self._gguf), str(self._threads)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kept)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.base, local_files_only=True)

    def answers(self, asked: Sequence[Request]) -> list[str]:
        """By token ids, so that the tokenizers cannot differ."""
        questions = [
            {"ids": encode(self._tokenizer, r.prompt), "max_tokens": r.max_new_tokens, "stop": r.stop} for r in asked
        ]
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(questions) + "\n")
        process.stdin.flush()
        found = json.loads(process.stdout.readline())
        self._cpu_s = found["cpu_s"]
        return [cut_at_stop(text, r.stop) for text, r in zip(found["texts"], asked, strict=True)]

    def cpu_s(self) -> float:
        """Of the other process."""
        return self._cpu_s


def contenders(base: Path, state: State, threads: int) -> tuple[dict[str, Contender], dict[str, str]]:
    """Those that can run here, and why others cannot."""
    found: dict[str, Contender] = {
        PEER: Transformers(base, 1),
        "batches": Transformers(base, BATCH_SIZE),
        "oneday": OneDay(base),
    }
    if not LLAMA_CPP.is_installed(LLAMA):
        return found, {"llama_cpp": "not installed in .llama: `make export-test` compiles it"}
    return {**found, "llama_cpp": LlamaCppPython(base, state.folder / "model-f32.gguf", threads)}, {}


def units(state: State, base: Path, asked: Sequence[Request], block: int, threads: int) -> Iterator[Unit]:
    """A unit answers one block by one contender."""
    able, left_out = contenders(base, state, threads)
    write_json(state.folder / "left_out.json", left_out)
    names = list(able)
    for number, requests in enumerate(_parts(asked, block)):
        digest = sha256("".join(r.key("") for r in requests).encode())
        inputs = {"model": model_fingerprint(base), "prompts": digest, "threads": threads}
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            yield Unit(
                name=f"{number:03}-{name}",
                inputs=inputs,
                work=partial(_answer, state, able[name], name, number, requests),
            )


def _parts(sequence: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (sequence[start : start + size] for start in range(0, len(sequence), size))


def _answer(state: State, contender: Contender, name: str, number: int, asked: Sequence[Request]) -> None:
    if name not in _READY:
        contender.ready()
        _READY.add(name)
    cpu_s, started = contender.cpu_s(), time.perf_counter()
    texts = contender.answers(asked)
    seconds = time.perf_counter() - started
    folder = make_folder(state.folder / "answers")
    found = {"seconds": seconds, "cpu_s": contender.cpu_s() - cpu_s, "texts": texts, "ids": [r.id for r in asked]}
    write_json(folder / f"{number:03}-{name}.json", found)


_READY: set[str] = set()


def report(state: State) -> dict[str, object]:
    """Of the blocks that all contenders have answered."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for path in sorted((state.folder / "answers").glob("*.json")):
        number, _, name = path.stem.partition("-")
        found.setdefault(number, {})[name] = read_json(path)
    names = sorted({name for block in found.values() for name in block})
    whole = [block for block in found.values() if len(block) == len(names)]
    if not whole:
        return {"blocks": 0}
    num = sum(len(block[PEER]["texts"]) for block in whole)
    return {
        **read_json(state.folder / "prompts.json"),
        "left_out": read_json(state.folder / "left_out.json"),
        "blocks": len(whole),
        "answered": num,
        "contenders": {name: _result(name, whole, num) for name in names},
    }


def _result(name: str, blocks: Sequence[Mapping[str, Mapping[str, Any]]], num: int) -> dict[str, object]:
    cpu_s = sum(block[name]["cpu_s"] for block in blocks)
    ratios = [block[PEER]["cpu_s"] / block[name]["cpu_s"] for block in blocks]
    equal = sum(a == b for block in blocks for a, b in zip(block[PEER]["texts"], block[name]["texts"], strict=True))
    return {
        "seconds": round(sum(block[name]["seconds"] for block in blocks), 1),
        "cpu_s": round(cpu_s, 1),
        "prompts_per_cpu_s": round(num / cpu_s, 3),
        "times_one_by_one": round(sum(block[PEER]["cpu_s"] for block in blocks) / cpu_s, 2),
        "times_one_by_one_by_block": [round(r, 2) for r in (min(ratios), statistics.median(ratios), max(ratios))],
        "equal_answers": round(equal / num, 4),
    }


def described(asked: Sequence[Request], predictor: TransformersPredictor) -> dict[str, object]:
    """How long the prompts are."""
    tokenizer = predictor.limit.tokenizer
    whole = [len(encode(tokenizer, r.prompt)) for r in asked]
    own = [n - len(encode(tokenizer, r.prompt[: r.num_shared])) for n, r in zip(whole, asked, strict=True)]
    return {
        "prompts": len(asked),
        "tasks": len({r.task for r in asked}),
        "mean_prompt_tokens": round(statistics.mean(whole), 1),
        "mean_own_tokens": round(statistics.mean(own), 1),
    }


def main() -> None:
    """Answers what is missing, or reports."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="folder of the answers")
    parser.add_argument("--base", type=Path, help="folder of the model")
    parser.add_argument("--tasks", type=Path, help="folder of NI task files")
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--per-task", type=int, default=13, help="prompts of each task")
    parser.add_argument("--block", type=int, default=65, help="prompts that a contender answers before the next one")
    parser.add_argument("--report", action="store_true", help="print the results so far as one JSON line")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    state = State(arguments.state)
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    if not arguments.report:
        if arguments.base is None or arguments.tasks is None:
            parser.error("--base and --tasks are needed, except with --report")
        predictor = TransformersPredictor(arguments.base, batch_size=BATCH_SIZE)
        asked = requests(arguments.tasks, arguments.prompts, arguments.per_task, predictor.fits)
        make_folder(state.folder)
        write_json(state.folder / "prompts.json", {**described(asked, predictor), "threads": threads})
        del predictor
        for unit in units(state, arguments.base, asked, arguments.block, threads):
            state.run(unit)
    command = (
        f"OMP_NUM_THREADS={threads} python -m benchmarks.real.asking --base BASE --tasks TASKS --state STATE "
        f"--prompts {arguments.prompts} --per-task {arguments.per_task} --block {arguments.block}"
    )
    print_result(command, result=report(state))


if __name__ == "__main__":
    main()
