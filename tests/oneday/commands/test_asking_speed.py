from dataclasses import replace
from pathlib import Path

import pytest

from core.generation.request import Kind
from curation.estimate import Estimate, TaskEstimate
from harness.errors import ConfigError
from oneday.commands.asking_speed import computed_rate, faster_server
from oneday.demo.demo import DEMO_BASE
from oneday.requests.curation import CurateRequest

TASK = TaskEstimate(
    task="t", kind=Kind.EXACT_MATCH, num_prompts=3_000, shared_tokens=500, own_tokens=300_000,
    most_new_tokens=96_000, answer_tokens=4.0, longest_answer=12,
)  # fmt: skip
ESTIMATE = Estimate(tasks=(TASK,), kinds={}, num_own_rows=0, sample=())
REQUEST = CurateRequest(tasks=(Path("tasks"),), card="rtx4090", dry_run=True)


def rate(request: CurateRequest, estimate: Estimate = ESTIMATE) -> float:
    found, origin = computed_rate(request, estimate)
    assert found is not None
    assert origin.startswith(f"computed for {request.card}, Mistral-7B")
    return found


def test_a_server_answers_faster_than_plain_pytorch_and_a_larger_card_faster_than_a_4090() -> None:
    plain, server = rate(REQUEST), rate(replace(REQUEST, predictor="openai"))
    assert 20 < plain < server < 100  # 104 tokens read and 4 written a prompt, at 7,500 tokens/s
    assert rate(replace(REQUEST, predictor="openai", card="h200")) > 2 * server


def test_prompts_of_tasks_with_long_answers_are_slower() -> None:
    long_task = replace(TASK, answer_tokens=60.0, longest_answer=128)
    assert rate(REQUEST, replace(ESTIMATE, tasks=(long_task,))) < 0.5 * rate(REQUEST)


def test_a_card_whose_speed_is_not_known_is_an_error() -> None:
    with pytest.raises(ConfigError, match="its speed is not known"):
        computed_rate(replace(REQUEST, card="l40s-45gb"), ESTIMATE)


def test_a_server_is_proposed_with_its_commands_where_it_is_faster(tmp_path: Path) -> None:
    base = tmp_path / "my base"
    base.mkdir()
    (base / "config.json").write_text((DEMO_BASE / "config.json").read_text())
    request = replace(REQUEST, base=base)
    plain, _ = computed_rate(request, ESTIMATE)
    server = faster_server(request, ESTIMATE, plain)
    assert server is not None
    assert plain is not None
    assert server.prompts_per_s > plain
    assert server.commands == (
        f"vllm serve '{base}' --enable-prefix-caching",
        f"python -m sglang.launch_server --model-path '{base}' --port 8000",
        f"--predictor openai --url http://127.0.0.1:8000/v1 --model '{base}' --concurrency 64",
    )
    in_4bit = faster_server(replace(request, precision="4bit"), ESTIMATE, plain)
    assert in_4bit is not None
    assert [command.split()[-1] for command in in_4bit.commands] == ["bitsandbytes", "64"]


def test_no_server_is_proposed_to_one_who_has_one_or_gains_nothing() -> None:
    request = replace(REQUEST, base=DEMO_BASE)
    assert faster_server(replace(request, predictor="openai"), ESTIMATE, 1.0) is None
    assert faster_server(request, ESTIMATE, 1e9) is None
    assert faster_server(REQUEST, ESTIMATE, 1.0) is None
