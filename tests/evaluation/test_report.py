import re
from pathlib import Path

import pytest

from evaluation.difference import differences
from evaluation.report import write_report
from tests.browser import assert_bars_are_drawn
from tests.evaluation.capitals import ANSWERS, recorded
from tests.evaluation.test_scoring import scored


def test_the_page_shows_figures_breakdowns_and_examples_of_both_kinds(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, [*ANSWERS, recorded("asia", "9", "Atlantis")])
    write_report(tmp_path / "page.html", evaluation, None)
    page = (tmp_path / "page.html").read_text()
    assert "2 of 3" in page
    assert "0.6667" in page
    assert "By continent" in page
    right, wrong = page.split('<h3 class="bad">wrong</h3>')
    assert "Helsinki, or so" in right
    assert "Lyon" in wrong
    assert "Lyon" not in right
    assert "not scored: 1." in page
    assert "World_Capitals/asia 9" in page
    assert "Against" not in page


def test_the_page_is_one_file_and_shows_texts_as_texts(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, [{**row, "response": "<script>alert(1)</script>Tokyo"} for row in ANSWERS])
    write_report(tmp_path / "page.html", evaluation, None)
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert re.search(r"(src|href)=", page) is None
    assert "prefers-color-scheme: dark" in page


def test_differences_say_which_are_none(tmp_path: Path) -> None:
    ours, theirs = scored(tmp_path, ANSWERS), scored(tmp_path, ANSWERS[::-1], name="other")
    write_report(tmp_path / "page.html", ours, differences(ours, theirs))
    page = (tmp_path / "page.html").read_text()
    assert "Against other" in page
    assert "not distinguished" in page


def test_a_long_response_is_cut_and_says_its_length(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, [{**row, "response": "Tokyo " * 20_000} for row in ANSWERS])
    write_report(tmp_path / "page.html", evaluation, None)
    page = (tmp_path / "page.html").read_text()
    assert "(120,000 characters)" in page
    assert len(page) < 40_000


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 390)])
def test_in_a_browser_the_bars_are_drawn_and_nothing_flows_over(tmp_path: Path, scheme: str, width: int) -> None:
    ours, theirs = scored(tmp_path, ANSWERS), scored(tmp_path, ANSWERS[::-1], name="other")
    write_report(tmp_path / "page.html", ours, differences(ours, theirs))
    assert_bars_are_drawn(tmp_path / "page.html", width=width, scheme=scheme)
