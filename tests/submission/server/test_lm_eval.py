"""The real lm-eval: its figures over HTTP are those on the model itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oneday.demo.demo import DEMO_BASE
from tests.submission.server.test_server import real_server

pytestmark = pytest.mark.slow

QUESTIONS = [
    {"question": f"Write the {which} word of the list.", "list": words, "choices": words.split(", "), "label": label}
    for which, label in (("first", 0), ("last", 2))
    for words in ("apple, lamp, saw", "cup, red, dog", "hot, cold, big", "Anna, Ben, Fay")
]
TASK = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "### Instruction:\\n{{{{question}}}}\\n\\n### Input:\\n{{{{list}}}}\\n\\n### Response:\\n"
metadata: {{version: 1.0}}
"""
CHOICES = """
task: made_choices
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: label
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
WORDS = """
task: made_words
output_type: generate_until
doc_to_target: "{{{{choices[label]}}}}"
generation_kwargs: {{until: ["\\n\\n"], max_gen_toks: 16, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""
TEXTS = """
task: made_texts
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{question}}}} {{{{list}}}}"
metric_list: [{{metric: word_perplexity}}]
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Multiple choice, generation and perplexity, with their data."""
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    for name, kind in (("choices", CHOICES), ("words", WORDS), ("texts", TEXTS)):
        (folder / f"{name}.yaml").write_text((TASK + kind).format(data=data))
    return folder


SCRIPT = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

manager = TaskManager(include_path=sys.argv[1], include_defaults=False)
found = {}
for model, arguments in json.loads(sys.argv[2]).items():
    done = simple_evaluate(
        model=model, model_args=arguments, tasks=["made_choices", "made_words", "made_texts"], device="cpu",
        task_manager=manager, bootstrap_iters=0,
    )
    found[model] = {
        "results": done["results"],
        "samples": {task: [sample["resps"] for sample in rows] for task, rows in done["samples"].items()},
    }
print(json.dumps(found, default=str))
"""
"""Both in one process: importing lm-eval takes longer than its work. `lm_eval --model` calls the same function."""


def evaluate(tasks: Path, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Results and samples by model."""
    offline = {
        "HF_HOME": str(tasks / "hub"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-c", SCRIPT, str(tasks), json.dumps(models)]
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_lm_eval_over_http_equals_lm_eval_on_the_model(tasks: Path) -> None:
    """In some of these prompts the one new token is the end token, which lm-eval needs to see."""
    with real_server("--served-model-name", "demo") as (url, _):
        # without `add_bos_token` lm-eval sends ids without BOS, although it puts one before the texts of `hf`
        api = {"model": "demo", "base_url": f"{url}/v1/completions", "tokenizer": str(DEMO_BASE), "num_concurrent": 4,
               "add_bos_token": True}  # fmt: skip
        found = evaluate(tasks, {"hf": {"pretrained": str(DEMO_BASE), "dtype": "float32"}, "local-completions": api})
    (expected, expected_samples), (ours, our_samples) = (run.values() for run in found.values())
    assert expected["made_words"]["exact_match,none"] > 0  # not only answers that are empty
    for task, figures in expected.items():
        for name, value in figures.items():
            if isinstance(value, float):
                assert ours[task][name] == pytest.approx(value, rel=1e-4), (task, name)
    assert our_samples["made_words"] == expected_samples["made_words"]
    for task in ("made_choices", "made_texts"):
        assert _numbers(our_samples[task]) == pytest.approx(_numbers(expected_samples[task]), abs=1e-4)
        assert _flags(our_samples[task]) == _flags(expected_samples[task])


def _flat(values: Any) -> list[Any]:
    return [x for value in values for x in _flat(value)] if isinstance(values, list) else [values]


def _numbers(answers: Any) -> list[float]:
    return [float(x) for x in _flat(answers) if str(x) not in ("True", "False")]


def _flags(answers: Any) -> list[str]:
    """Whether each choice is what greedy decoding would give."""
    return [str(x) for x in _flat(answers) if str(x) in ("True", "False")]
