import pytest

from harness.budget.few_steps import MIN_STEPS, few_steps_warning
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.rehearse import pack_plan
from harness.recipe import find_recipe, read_recipe, recipe_for

LARGE = read_recipe(find_recipe(recipe_for(get_gpu_profile("rtx4090"))))
TINY = read_recipe(find_recipe(recipe_for(get_gpu_profile("cpu"))))


def note(recipe: object, lengths: list[int]) -> str:
    assert isinstance(recipe, type(LARGE))
    packs = pack_plan(recipe, lengths, epochs=recipe.num_epochs)
    return few_steps_warning(recipe, lengths, packs.num_steps(recipe.gradient_accumulation_steps))


def test_fifty_rows_under_a_recipe_for_two_hundred_thousand_are_one_step() -> None:
    assert note(LARGE, [120] * 50) == (
        "1 step in all: 6,000 tokens per epoch, 49,152 per step. That is too few to learn much: sequence_len: 512, "
        "micro_batch_size: 1 and gradient_accumulation_steps: 1 in a copy of the recipe (`config=`) make about 36 of "
        "the same rows; or raise num_epochs; or give more rows"
    )


@pytest.mark.parametrize("length", [120, 700, 3_000])
def test_the_settings_that_it_names_make_the_steps_that_it_says(length: int) -> None:
    lengths = [length] * 40
    said = note(LARGE, lengths)
    words = said.partition("sequence_len: ")[2]
    smaller = LARGE.model_copy(
        update={"sequence_len": int(words.split(",")[0]), "micro_batch_size": 1, "gradient_accumulation_steps": 1}
    )
    promised = int(words.partition("make about ")[2].split()[0])
    packs = pack_plan(smaller, lengths, epochs=smaller.num_epochs)
    assert max(lengths) <= smaller.sequence_len
    assert promised <= packs.num_steps(1) <= 2 * promised


def test_a_run_of_many_steps_is_not_spoken_of() -> None:
    assert note(LARGE, [120] * 20_000) == ""
    assert note(TINY, [120] * 50) == ""
    assert few_steps_warning(LARGE, [120] * 50, MIN_STEPS) == ""
    assert few_steps_warning(LARGE, [120] * 50, MIN_STEPS - 1) != ""
