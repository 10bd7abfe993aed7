"""Asks a GGUF file through llama-cpp-python. It runs in llama.cpp's environment, and imports nothing of this project.

    python ask.py questions.json answers.npz

`questions.json` holds `model` (the file), `new_tokens`, and `prompts`: each with `text`, or with `ids` if it is no
plain text. `answers.npz` holds for each prompt `ids_N`, `logits_N` of the first new token, and `text_N`, the greedy
answer as UTF-8 bytes.

Where it sits: program.py -> **this script** -> llama.cpp.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(questions: Path, answers: Path) -> None:
    """Answers all questions."""
    import numpy
    from llama_cpp import GGML_TYPE_F32, Llama, llama_get_logits_ith, llama_vocab_is_eog

    asked: dict[str, Any] = json.loads(questions.read_text(encoding="utf-8"))
    lengths = [len(p["text"].encode()) + 2 if "text" in p else len(p["ids"]) for p in asked["prompts"]]
    window = max(lengths) + asked["new_tokens"]  # a token is at least a byte; a tokenizer may add one at each end
    llama = Llama(
        asked["model"], n_ctx=window, n_batch=window, n_ubatch=window, verbose=False,
        type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32,  # the default of 16 bits would be measured, and not the file
    )  # fmt: skip
    prompts = [
        llama.tokenize(prompt["text"].encode(), add_bos=True, special=True) if "text" in prompt else prompt["ids"]
        for prompt in asked["prompts"]
    ]
    vocabulary = llama._model.vocab

    def last_logits() -> Any:
        return numpy.ctypeslib.as_array(llama_get_logits_ith(llama.ctx, -1), shape=(llama.n_vocab(),)).copy()

    found: dict[str, Any] = {}
    for number, ids in enumerate(prompts):
        llama.reset()
        llama.eval(ids)
        found[f"ids_{number}"] = numpy.array(ids)
        found[f"logits_{number}"] = last_logits()
        new: list[int] = []
        while len(new) < asked["new_tokens"]:
            token = int(last_logits().argmax())
            if llama_vocab_is_eog(vocabulary, token):
                break
            new.append(token)
            llama.eval([token])
        before = llama.detokenize(ids, special=True)
        text = llama.detokenize([*ids, *new], special=True)[len(before) :]
        found[f"text_{number}"] = numpy.frombuffer(text, dtype=numpy.uint8)
    with answers.open("wb") as file:
        numpy.savez(file, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
