import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from curation.curate import curate
from curation.report import bars
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
            if tag not in ("meta", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Tags().feed(page.read_text())
    assert open_tags == []


def test_the_funnel_and_the_shortfall_are_told(page: Path) -> None:
    text = page.read_text()
    assert "already solved 5" in text
    assert "ni_generation gives 0 of 50 rows" in text


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
