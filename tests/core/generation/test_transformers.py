import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import PredictionError
from core.generation.answer_loss import answer_losses
from core.generation.request import Kind, Request
from core.generation.transformers import TransformersPredictor
from core.model.language_model import LanguageModel
from core.model.token_ids import IGNORED_LABEL
from curation.ni.few_shot import few_shot_prefix, few_shot_prompt
from curation.ni.task import Example
from oneday.demo.tasks import DEMO_TASKS, positive_examples


@pytest.fixture(scope="module")
def predictor(demo_base: Path) -> TransformersPredictor:
    return TransformersPredictor(demo_base, batch_size=4)


def request(number: int, query: str, max_new_tokens: int = 8) -> Request:
    task = DEMO_TASKS[0]
    shots = [Example(input=i, output=o) for i, o in positive_examples(task)]
    prompt = few_shot_prompt(task.definition, shots, query)
    return Request(
        task=task.name,
        id=str(number),
        kind=Kind.EXACT_MATCH,
        prompt=prompt,
        num_shared=len(few_shot_prefix(task.definition, shots)),
        num_shots=3,
        references=("x",),
        max_new_tokens=max_new_tokens,
        stop=("\n\n",),
    )


QUERIES = [
    "Anna from Lund says peach",
    "Ben from Oslo says hammer",
    "Carl from Brno says red",
    "Dora from Riga says cow",
]


def test_answers_come_back_in_order_and_are_right(predictor: TransformersPredictor) -> None:
    asked = [request(n, q, max_new_tokens=(8, 12)[n % 2]) for n, q in enumerate([*QUERIES, *QUERIES[::-1]])]
    answers = [a.strip() if a else a for a in predictor.complete(asked)]
    expected = ["fruit", "tool", "colour", "animal"]
    assert answers == [*expected, *expected[::-1]]


def test_batching_does_not_change_an_answer(predictor: TransformersPredictor) -> None:
    asked = [request(n, q) for n, q in enumerate(QUERIES)]
    assert predictor.complete(asked) == [predictor.complete([r])[0] for r in asked]


def test_a_prompt_must_leave_room_for_the_answer(predictor: TransformersPredictor) -> None:
    assert predictor.fits("short", 32)
    assert not predictor.fits("word " * 5_000, 32)
    assert not predictor.fits("x" * 1_000_000, 32)
    assert not predictor.fits("漢" * 1_000, 32)  # three bytes each


@pytest.mark.parametrize("missing", ["folder", "config", "weights", "tokenizer"])
def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "model"
    words = {
        "folder": "no such model folder",
        "config": "no config",
        "weights": "safetensors",
        "tokenizer": "tokenizer",
    }
    if missing != "folder":
        folder.mkdir()
    if missing in ("weights", "tokenizer"):
        (folder / "config.json").write_text("{}")
    if missing == "tokenizer":
        (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(PredictionError, match=words[missing]):
        TransformersPredictor(folder)


def test_reading_the_shots_once_does_not_change_an_answer(demo_base: Path) -> None:
    asked = [
        request(n, f"{query} {extra}") for n, query in enumerate(QUERIES) for extra in ("today", "and then, again")
    ]
    once = TransformersPredictor(demo_base, batch_size=4)
    anew = TransformersPredictor(demo_base, batch_size=4, reuse_prefix=False)
    assert once.complete(asked) == anew.complete(asked)
    assert once.revision != anew.revision


def test_the_prefix_of_a_task_is_read_once_over_shards(demo_base: Path) -> None:
    predictor = TransformersPredictor(demo_base, batch_size=4)
    num_read = 0

    def count(module: object, args: object, kwargs: dict[str, Any]) -> None:
        nonlocal num_read
        num_read += kwargs["input_ids"].numel()

    predictor._model.model.register_forward_pre_hook(count, with_kwargs=True)
    shards = [[request(n, query + end) for n, query in enumerate(QUERIES)] for end in ("", " now")]
    for shard in shards:
        predictor.complete(shard)
    prompts = [predictor._encode(r) for shard in shards for r in shard]
    first = shards[0][0]
    num_shared = len(predictor._model.encode(first.prompt[: first.num_shared])) - 1  # the last may merge with the query
    num_own = sum(len(prompt) - num_shared for prompt in prompts)
    num_answered = sum(r.max_new_tokens for shard in shards for r in shard)
    assert num_read < num_shared + 2 * num_own + num_answered
    assert num_read < sum(map(len, prompts))


def test_tasks_are_not_mixed_up_in_a_shard(predictor: TransformersPredictor) -> None:
    mixed = []
    for number, query in enumerate(QUERIES):
        plain = request(number, query)
        prompt = few_shot_prompt("Say the name of the town.", [], query)
        shared = len(few_shot_prefix("Say the name of the town.", []))
        mixed += [plain, replace(plain, task="other", prompt=prompt, num_shared=shared)]
    assert predictor.complete(mixed) == [predictor.complete([r])[0] for r in mixed]


def of_many_tasks() -> list[Request]:
    """Three tasks with few prompts each, with and without a shared prefix, answers of two lengths, one penalised."""
    found = []
    for number, query in enumerate([*QUERIES, *QUERIES]):
        plain = request(number, f"{query} today" if number > 3 else query, max_new_tokens=(6, 12)[number % 2])
        definition = ("Say the name of the town.", "Say who speaks. " * number, "Copy the last word.")[number % 3]
        found.append(
            replace(
                plain,
                task=f"task{number % 3}",
                prompt=few_shot_prompt(definition, [], query) if number % 3 else plain.prompt,
                num_shared=len(few_shot_prefix(definition, [])) if number % 3 else plain.num_shared,
                repetition_penalty=1.3 if number == 7 else 1.0,
            )
        )
    return found


def test_an_answer_does_not_depend_on_the_tasks_that_share_its_batch(demo_base: Path) -> None:
    asked = of_many_tasks()
    alone = TransformersPredictor(demo_base, batch_size=1, reuse_prefix=False)
    expected = alone.respond(asked)
    assert len({answer.text for answer in expected}) > 3
    for batch_size in (1, 3, 32):  # fewer slots than rows, and more
        assert TransformersPredictor(demo_base, batch_size=batch_size).respond(asked) == expected


def test_one_batch_holds_rows_of_several_tasks(demo_base: Path) -> None:
    predictor = TransformersPredictor(demo_base, batch_size=8)
    asked, sizes = of_many_tasks(), list[int]()
    predictor._model.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    predictor.complete(asked)
    assert max(sizes) == len(asked) == 8
    assert len({r.task for r in asked}) == 3


def test_prompts_beyond_a_layers_window_are_answered_as_by_generate(demo_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(demo_base, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "sliding_window": 64}))
    asked = [request(n, q) for n, q in enumerate(QUERIES)]
    whole = TransformersPredictor(base, batch_size=4, reuse_prefix=False)
    assert TransformersPredictor(base, batch_size=4).complete(asked) == whole.complete(asked)


def test_answers_are_handed_over_by_time(demo_base: Path) -> None:
    seconds = iter(range(0, 10_000, 6))
    predictor = TransformersPredictor(demo_base, batch_size=2, clock=lambda: float(next(seconds)))
    parts = list(predictor.complete_batches(of_many_tasks()))
    assert sorted(number for part in parts for number in part) == list(range(8))
    assert {} in parts, "time passes while no answer is complete"
    assert len([part for part in parts if part]) > 2


def test_signals_are_the_losses_of_the_reference_behind_the_prompt_and_alone(
    predictor: TransformersPredictor, demo_base: Path
) -> None:
    """The tokens that prompts share are read once; each row read as a whole gives the same losses."""
    answers = ["fruit", "tool", " colour ", "a thing that nobody says here"]
    asked = [
        replace(request(n, q), references=(a, "unused")) for n, (q, a) in enumerate(zip(QUERIES, answers, strict=True))
    ]
    asked.append(replace(asked[0], id="4", references=(" ",)))
    *found, empty = predictor.signals(asked)
    assert empty is None
    model = LanguageModel.load(demo_base)
    begins = [model.tokenizer.bos_token_id]
    for one, answer, measured in zip(asked, answers, found, strict=False):
        prompt, whole = model.encode(one.prompt), model.encode(one.prompt + answer.strip())
        ids = whole[len(prompt) :]
        [(behind, num), (alone, _)] = answer_losses(
            model,
            [(whole, [*[IGNORED_LABEL] * len(prompt), *ids]), ([*begins, *ids], [IGNORED_LABEL, *ids])],
        )
        assert measured is not None
        assert measured.num_tokens == num
        assert (measured.loss, measured.loss_alone) == pytest.approx((behind / num, alone / num), abs=2e-5)
    right, *_, wrong = [signals.ifd for signals in found if signals]
    assert right is not None
    assert wrong is not None
    assert right < 0.2 < wrong  # the base answers the first question right, and would never say the last answer
    assert predictor.signals(asked[:1]) == found[:1]
