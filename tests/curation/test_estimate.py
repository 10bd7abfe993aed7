from pathlib import Path

from core.generation.request import SHARD_SIZE, Kind
from core.model.token_counter import TokenCounter
from curation.estimate import estimate
from curation.ni.few_shot import build_requests, few_shot_prefix
from curation.ni.instances import INSTANCES, InstanceStore
from curation.ni.select import read_selected
from curation.ni.task import read_task
from curation.stages.tasks import select_stage
from tests.curation.test_curate import DATA, curation


def test_small_jobs_are_counted_to_the_token(tmp_path: Path, demo_base: Path) -> None:
    made, tokens = curation(tmp_path), TokenCounter.load(demo_base)
    found = estimate(made, tokens)
    assert not made.run.exists()
    chosen = select_stage(made)
    total = 0
    for selected in read_selected(chosen.path("tasks.jsonl")):
        instances = InstanceStore(chosen.path(INSTANCES)).read(selected.block)
        requests = build_requests(
            selected, selected.kind, instances, made.parameters.prompts, lambda p, n: True, lambda d: None
        )
        total += sum(
            tokens.count([r.prompt[: r.num_shared]])[0] + tokens.count([r.prompt[r.num_shared :]])[0] for r in requests
        )
    assert found.num_prompts == 22
    assert found.prompt_tokens == total
    assert found.most_new_tokens == 12 * 32 + 10 * 128
    answers = [tokens.count([answer])[0] + 1 for answer in ("odd", "even")]
    assert min(answers) <= found.tasks[0].answer_tokens <= found.tasks[0].longest_answer == max(answers)


def test_shots_are_read_once_a_shard(tmp_path: Path, demo_base: Path) -> None:
    tokens = TokenCounter.load(demo_base)
    found = estimate(curation(tmp_path), tokens)
    task = read_task(DATA / "task1_even_or_odd.json").task
    one = next(t for t in found.tasks if t.kind is Kind.EXACT_MATCH)
    shared = tokens.count([few_shot_prefix(task.definition, task.positive_examples)])[0]
    assert one.shared_tokens == shared
    assert one.num_prompts < SHARD_SIZE
    assert found.read_tokens == sum(t.shared_tokens + t.own_tokens for t in found.tasks)


def test_prompts_to_time_are_whole_tasks_from_short_to_long(tmp_path: Path, demo_base: Path) -> None:
    found = estimate(curation(tmp_path), TokenCounter.load(demo_base), tasks_timed=2)
    assert len(found.sample) == 22
    assert {r.task for r in found.sample} == {"task1_even_or_odd", "task2_shorten"}
