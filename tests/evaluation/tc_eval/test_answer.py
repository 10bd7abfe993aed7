import pytest

from evaluation.tc_eval.answer import LETTERS, choice, contain, first_character, prefix, sentiment


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_answer_fails_every_rule(empty: str) -> None:
    assert not prefix(empty, ["台北"])
    assert not contain(empty, ["台北"])
    assert choice(empty, ["台北"]) is None
    assert first_character(empty, LETTERS) is None
    assert sentiment(empty) is None


def test_prefix_strips_both_sides_and_contain_passes_a_long_wrong_answer() -> None:
    assert prefix(" 梵語。", [" 梵語"])
    assert not prefix("答案是梵語", ["梵語"])
    assert contain("不是梵語，是俗語", ["梵語"])


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("D", "D"),
        ("(c) 三", "C"),
        ("選項B", "B"),
        ("答案: (B) 越南", "B"),
        ("正確的選項是 (A)", "A"),
        ("我認為應該選擇：E", "E"),
        ("最恰當的選項為C", "C"),
        ("(D)是正確的", "D"),
        ("回答：(a)", "A"),
        ("Because of this", "B"),  # the reference's quirk
        ("答案是A，不過選擇B", None),  # two letters
        ("三 x 四", None),
        ("就是丙 C 了", "C"),  # the only Latin letter
    ],
)
def test_a_choice_is_found_by_patterns(response: str, letter: str | None) -> None:
    assert choice(response) == letter


def test_an_option_at_the_start_is_chosen_and_of_two_the_longer() -> None:
    assert choice("越南。", ["印尼", "越南"]) == "B"
    assert choice("10 隻", ["1", "10"]) == "B"
    assert choice("越南。") is None


def test_the_first_character_is_not_stripped_and_must_be_allowed() -> None:
    assert first_character("B) 二", LETTERS) == "B"
    assert first_character("(B) 二", LETTERS) is None
    assert first_character(" B", LETTERS) is None
    assert first_character("b", LETTERS) is None


def test_a_sentiment_is_the_word_at_the_start() -> None:
    assert sentiment(" 正面。") == 1
    assert sentiment("負面評論") == 0
    assert sentiment("這是正面") is None
