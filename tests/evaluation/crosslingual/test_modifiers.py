import pytest

from evaluation.crosslingual.modified import REQUIREMENTS
from evaluation.crosslingual.modifiers import (
    NAMES,
    has_arrows,
    has_items,
    is_capitalised,
    is_html,
    is_markdown,
    parse_modifier,
)
from evaluation.errors import EvaluationError

PAGE = "<!DOCTYPE html>\n<html>\n<body>\n<h1>Steak</h1>\n</body>\n</html>"


@pytest.mark.parametrize(
    ("text", "num", "right"),
    [
        ("Here:\n1. Oslo\n2) Bergen\n* Molde", 3, True),
        ("- Oslo\n  - north\n  - south\n- Bergen", 2, True),
        ("  • Oslo\n  • Bergen", 2, True),
        ("- Oslo\n- Bergen", 3, False),
        ("Oslo, Bergen, Molde", 3, False),
        ("2024 was warm\n3.5 is a number", 1, False),
        ("", 0, False),
    ],
)
def test_a_list_has_exactly_so_many_items_at_its_top_level(text: str, num: int, right: bool) -> None:
    assert has_items(text, num) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [("# Steak", True), ("use **salt** now", True), ("- salt", True), ("| a | b |", True), ("[a](http://a.no)", True),
     ("```\nx\n```", True), ("plain * text, 2*3*4", False), ("#steak", False), ("", False)],
)  # fmt: skip
def test_markdown_needs_one_of_its_marks(text: str, right: bool) -> None:
    assert is_markdown(text) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [(PAGE, True), (f"Here it is:\n```html\n{PAGE}\n```", True), (PAGE.replace("</html>", ""), False),
     ("<html><b>Steak</b></html>", False), ("<h1>Steak</h1>", False), ("</html><p><html>", False), ("", False)],
)  # fmt: skip
def test_html_is_a_page_with_a_block_in_it(text: str, right: bool) -> None:
    assert is_html(text) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [("--> salt\n--> pepper", True), ("Points:\n  → salt\n→ pepper", True), ("--> salt", False),
     ("--> salt\n--> pepper\n- oil", False), ("salt --> pepper\nthen --> oil", False), ("", False)],
)  # fmt: skip
def test_arrows_begin_two_lines_and_no_other_bullet_does(text: str, right: bool) -> None:
    assert has_arrows(text) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [("Salt The Steak.", True), ("Соль И Перец", True), ("Salt the Steak.", False), ("A " * 19 + "b", True),
     ("A " * 18 + "b", False), ("123", False), ("", False)],
)  # fmt: skip
def test_capitals_begin_nearly_every_word(text: str, right: bool) -> None:
    assert is_capitalised(text) is right


def test_every_modifier_is_decided_by_a_rule_the_detector_or_a_judge() -> None:
    types = ("short", "long", "num_items_3", "lang_fr", "markdown_template", "html_template", "arrow_template",
             "cap_template", "scientific_style", "simple_style", "complex_inst")  # fmt: skip
    found = [parse_modifier(name) for name in types]
    assert tuple(modifier.name for modifier in found) == NAMES
    without_rule = {modifier.name for modifier in found if modifier.rule is None}
    assert without_rule == {*REQUIREMENTS, "language"}
    with pytest.raises(EvaluationError, match="modifier 'loud' is unknown"):
        parse_modifier("loud")


def test_a_long_answer_of_stars_is_decided_at_once() -> None:
    assert not is_markdown("**a " * 20_000)
