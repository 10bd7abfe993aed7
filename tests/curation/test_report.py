import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.stage import read_details
from curation.counts import MixDetails
from curation.curate import curate
from curation.report.page import bars
from curation.report.task_lines import ORDERS, task_lines, task_map
from curation.sample import Control, SampleParameters
from curation.stages.samples import SamplesDetails
from tests.curation.test_curate import curation, numbers

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def page(tmp_path: Path, demo_base: Path) -> Path:
    tasks = tmp_path / "tasks"
    numbers(tasks, "task1_<b>x", 40)
    return curate(curation(tmp_path, tasks=tasks, tokenizer=demo_base / "tokenizer.json")) / "report.html"


def test_the_page_asks_for_nothing_and_runs_nothing(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<script|<link|<img|@import|url\(|https?://", text)


def test_text_from_the_data_is_text(page: Path) -> None:
    text = page.read_text()
    assert "task1_&lt;b&gt;x" in text
    assert "task1_<b>x" not in text


def test_every_tag_is_closed(page: Path) -> None:
    open_tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "br", "input"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Tags().feed(page.read_text())
    assert open_tags == []


def test_the_funnel_and_the_shortfall_are_told(page: Path) -> None:
    text = page.read_text()
    assert "already solved 5" in text
    assert "ni_generation gives 0 of 50 rows" in text


def test_each_task_has_what_was_asked_the_score_what_was_drawn_and_why_not_more(page: Path) -> None:
    run = page.parents[1]
    details, drawn = read_details(MixDetails, run / "05_mix"), read_details(SamplesDetails, run / "04_samples")
    [line] = task_lines(run, details, drawn)
    assert (line.asked, line.instances, line.score, line.rows) == (
        40,
        40,
        0.125,
        details.rows_by_task[f"{line.source}/{line.task}"],
    )
    assert line.interval == pytest.approx((0.0546, 0.2611), abs=1e-4)
    assert line.tokens == details.tokens > 0
    assert line.share == 1.0
    assert dict(line.lost)["already_solved"] == 5
    assert line.rows + sum(n for _, n in line.lost) == 40
    assert [(row.category, row.rows, len(row.lines)) for row in task_map([line])] == [
        ("Question Answering", line.rows, 1)
    ]


def test_lines_and_categories_have_their_place_in_every_order(page: Path) -> None:
    run = page.parents[1]
    details, drawn = read_details(MixDetails, run / "05_mix"), read_details(SamplesDetails, run / "04_samples")
    [line] = task_lines(run, details, drawn)
    assert set(line.places) == set(ORDERS)
    text = page.read_text()
    for order in ORDERS:
        assert f'id="by-{order}"' in text
        assert f"#by-{order}:checked ~ .sorted .category" in text


def test_a_control_says_that_it_is_one(tmp_path: Path) -> None:
    numbers(tmp_path / "tasks", "task1_x", 40)
    mix = curate(curation(tmp_path, tasks=tmp_path / "tasks", samples=SampleParameters(control=Control.BALANCED)))
    text = (mix / "report.html").read_text()
    assert "A control: its rows were drawn without asking the base, equally from each task" in text
    assert "What the base model gets wrong" not in text


def test_bars_are_scaled_to_the_longest() -> None:
    assert [b.share for b in bars([("a", 5, ""), ("b", 10, ""), ("c", 0, "")])] == [0.5, 1.0, 0.0]
    assert [b.share for b in bars([("a", 0, "")])] == [0.0]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the page is not drawn")
def test_a_browser_draws_it_without_a_complaint(page: Path, tmp_path: Path) -> None:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom", f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "From read to kept" in done.stdout
    assert "CONSOLE" not in done.stderr
