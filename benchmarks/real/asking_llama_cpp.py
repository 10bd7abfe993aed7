"""Answers blocks of prompts by llama-cpp-python, in llama.cpp's environment; it imports nothing of this project.

    python asking_llama_cpp.py model.gguf THREADS

Each line of the input is a JSON list of prompts, each with `ids`, `max_tokens` and `stop`; each line of the output
holds `texts`, and `cpu_s`, the seconds of CPU that this process has used.
"""

import json
import sys
import time
from typing import Any

WINDOW = 2_048
"""Tokens of the longest prompt and its answer."""


def main(gguf: str, threads: int) -> None:
    """Answers until the input ends."""
    from llama_cpp import Llama

    llama = Llama(gguf, n_ctx=WINDOW, n_threads=threads, n_threads_batch=threads, verbose=False)
    for line in sys.stdin:
        texts = [_answer(llama, asked) for asked in json.loads(line)]
        print(json.dumps({"texts": texts, "cpu_s": time.process_time()}), flush=True)


def _answer(llama: Any, asked: dict[str, Any]) -> str:
    found = llama.create_completion(
        asked["ids"], max_tokens=asked["max_tokens"], stop=list(asked["stop"]), temperature=0.0, repeat_penalty=1.0
    )
    return str(found["choices"][0]["text"])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
