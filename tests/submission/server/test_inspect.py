"""The real Inspect against the server: raw prompts, and chats that are streamed. `make inspect-test`."""

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.example.prompt import training_prompt
from submission.environment import tool
from tests.programs import installed
from tests.submission.server.conftest import TOKEN

pytestmark = pytest.mark.slow

LISTS = ("apple, lamp, saw", "cup, red, dog", "hot, cold, big", "Anna, Ben, Fay")
SAMPLES = [
    {"input": training_prompt(f"Write the {which} word of the list.", words), "target": words.split(", ")[place]}
    for which, place in (("first", 0), ("last", 2))
    for words in LISTS
]
NEW_TOKENS = 12

SCRIPT = """
import json, sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import match
from inspect_ai.solver import generate

asked = json.load(sys.stdin)
config = GenerateConfig(
    temperature=0.0, max_tokens=asked["new_tokens"], logprobs=True, top_logprobs=3, stop_seqs=["\\n\\n"], max_retries=0,
    max_connections=4,
)
found = {}
for model, arguments in asked["models"].items():
    samples = [Sample(**sample) for sample in asked["samples"]]
    task = Task(dataset=samples, solver=generate(), scorer=match(location="exact"))
    (log,) = eval(
        task, model=f"{model}/oneday/demo", model_base_url=asked["url"], model_args=arguments, log_dir=asked["logs"],
        display="none", **config.model_dump(exclude_none=True),
    )
    choices = [sample.output.choices[0] for sample in log.samples or []]
    found[model] = {
        "status": log.status, "error": str(log.error),
        "accuracy": log.results.scores[0].metrics["accuracy"].value if log.results else None,
        "texts": [choice.message.text for choice in choices],
        "ends": [choice.stop_reason for choice in choices],
        "logprobs": [[token.logprob for token in choice.logprobs.content] for choice in choices],
        "usage": [[s.output.usage.input_tokens, s.output.usage.output_tokens] for s in log.samples or []],
    }
print(json.dumps(found))
"""


def by_inspect(environment: Path, url: str, folder: Path) -> dict[str, Any]:
    models = {"openai-api-completions": {}, "openai-api": {"stream": True}}
    asked = {
        "models": models, "samples": SAMPLES, "url": f"{url}/v1", "logs": str(folder), "new_tokens": NEW_TOKENS,
    }  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CACHE_HOME": str(folder), "ONEDAY_API_KEY": TOKEN}
    done = subprocess.run(
        [tool(environment, "python"), "-c", SCRIPT], input=json.dumps(asked), env=kept | own,
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def asked_alone(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One answer, with nothing else in the batch."""
    body |= {"model": "demo", "temperature": 0, "max_tokens": NEW_TOKENS, "stop": ["\n\n"]}
    reply = httpx.post(f"{url}/v1/{path}", json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    assert reply.status_code == 200, reply.text
    choice: dict[str, Any] = reply.json()["choices"][0]
    return choice


def test_inspect_gets_the_answers_log_probabilities_and_scores_of_the_model(url: str, tmp_path: Path) -> None:
    found = by_inspect(installed("inspect", "inspect-test"), url, tmp_path)
    for model, seen in found.items():
        assert seen["status"] == "success", (model, seen["error"])
        assert all(given > 0 and 0 < new <= NEW_TOKENS for given, new in seen["usage"]), model
    texts, chats = found["openai-api-completions"], found["openai-api"]
    for number, sample in enumerate(SAMPLES):
        alone = asked_alone(url, "completions", {"prompt": sample["input"], "logprobs": 3})
        assert texts["texts"][number] == alone["text"]
        assert math.isclose(sum(texts["logprobs"][number]), sum(alone["logprobs"]["token_logprobs"]), abs_tol=1e-4)
        messages = [{"role": "user", "content": sample["input"]}]
        alone = asked_alone(url, "chat/completions", {"messages": messages, "logprobs": True})
        assert chats["texts"][number] == alone["message"]["content"]
        total = sum(token["logprob"] for token in alone["logprobs"]["content"])
        assert math.isclose(sum(chats["logprobs"][number]), total, abs_tol=1e-4)
    right = sum(text == sample["target"] for text, sample in zip(texts["texts"], SAMPLES, strict=True))
    assert texts["accuracy"] == right / len(SAMPLES) > 0
    assert set(texts["ends"]) <= {"stop", "max_tokens"}
