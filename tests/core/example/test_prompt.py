from core.example.prompt import cut_at_stop, training_prompt
from curation.ni.few_shot import PREAMBLE, ShotOrder, few_shot_prefix, few_shot_prompt, ordered_shots
from curation.ni.task import Example

SHOTS = [Example(input=f"in{n}", output=f"out{n}") for n in range(4)]


def test_the_few_shot_prompt_is_the_published_one_to_the_letter() -> None:
    assert few_shot_prompt("Do it.", SHOTS[:2], "now") == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nDo it.\n\n"
        "### Input:\nin0\n\n### Response:\nout0\n\n"
        "### Input:\nin1\n\n### Response:\nout1\n\n"
        "### Input:\nnow\n\n### Response:\n"
    )


def test_the_training_prompt_is_the_published_one_to_the_letter() -> None:
    assert training_prompt("Do it.", "now") == "### Instruction:\nDo it.\n\n### Input:\nnow\n\n### Response:\n"


def test_empty_blocks_are_left_out() -> None:
    assert training_prompt("", "now") == "### Input:\nnow\n\n### Response:\n"
    assert training_prompt("Do it.", "") == "### Instruction:\nDo it.\n\n### Response:\n"


def test_without_shots_both_layouts_differ_by_the_preamble_alone() -> None:
    assert few_shot_prompt("Do it.", [], "now") == f"{PREAMBLE}\n\n{training_prompt('Do it.', 'now')}"


def test_the_order_of_shots_depends_on_seed_and_name_alone() -> None:
    order = ShotOrder.PER_TASK
    assert ordered_shots(SHOTS, order, seed=1, name="a") == ordered_shots(SHOTS, order, seed=1, name="a")
    orders = {ordered_shots(SHOTS, order, seed=seed, name="a") for seed in range(20)}
    assert len(orders) > 5
    assert all(sorted(o, key=str) == sorted(SHOTS, key=str) for o in orders)
    assert ordered_shots(SHOTS, ShotOrder.FILE, seed=1, name="a") == tuple(SHOTS)


def test_a_prompt_begins_with_what_its_task_shares() -> None:
    prefix = few_shot_prefix("Do it.", SHOTS)
    assert few_shot_prompt("Do it.", SHOTS, "now") == f"{prefix}now\n\n### Response:\n"


def test_a_question_without_input_has_no_input_block() -> None:
    assert few_shot_prompt("Tell a joke.", [], "") == f"{PREAMBLE}\n\n### Instruction:\nTell a joke.\n\n### Response:\n"


def test_braces_and_markers_in_the_data_are_plain_text() -> None:
    assert "{0} %s ### Input:" in training_prompt("{0} %s ### Input:", "x")


def test_an_answer_is_cut_at_its_first_stop_string() -> None:
    assert cut_at_stop(" yes\n\n### Input:") == " yes"
    assert cut_at_stop("a###b\n\n", ("\n\n", "###")) == "a"
    assert cut_at_stop("\n\nlate") == ""
    assert cut_at_stop("whole") == "whole"
