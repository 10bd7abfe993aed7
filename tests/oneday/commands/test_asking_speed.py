from dataclasses import replace
from pathlib import Path

import pytest

from core.generation.request import Kind
from curation.estimate import Estimate, TaskEstimate
from harness.errors import ConfigError
from oneday.commands.asking_speed import computed_rate
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
