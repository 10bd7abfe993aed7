"""The run's page: what it says, and in a real browser that it draws and asks nobody for anything."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.comparison import ANSWERS, COMPARISON
from core.errors import StageError
from core.lm_eval_figure import LmEvalFigure, record_figures
from core.run_folder import SCORED
from harness.history import read_history
from harness.ledger.ledger import Ledger
from harness.report import write_report
from harness.run import LEDGER, train
from oneday.commands.report import next_commands
from tests.browser import chromium
from tests.harness.test_history import step, tell
from tests.harness.test_run import MEASURED, fake, make_job

HOSTILE = "</script><img src=x onerror=alert(1)> <b>bold</b> \u202e 你好"


@pytest.fixture
def finished(tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path) -> Path:
    """A run with held-out answers, one of them hostile."""
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    train(job, MEASURED, launch=fake(save="1,3"))
    scored = job.run / SCORED
    scored.mkdir()
    answers = [
        {
            "task": f"task{n}", "instruction": HOSTILE if n == 0 else "Say.", "input": "x" * 5000 if n == 1 else "in",
            "reference": "yes", "texts": {"base": "no", "tuned": "yes"}, "scores": {"base": b, "tuned": t},
        }
        for n, (b, t) in enumerate([(0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
    ]  # fmt: skip
    (scored / ANSWERS).write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    group = {"num": 3, "base": 0.5, "tuned": 0.75, "low": 0.1, "high": 0.4, "p": 0.01}
    (scored / COMPARISON).write_text(json.dumps([{"group": "overall", **group}]))
    return job.run


def written(*runs: Path) -> str:
    path = runs[0] / "report.html"
    write_report(runs, path, commands=next_commands)
    return path.read_text()


def test_a_finished_run_shows_its_day_its_choice_and_its_answers(finished: Path) -> None:
    figure = LmEvalFigure(task="arc_easy", metric="acc", filter="none", value=0.5125, stderr=0.0103, num=2376)
    record_figures(finished, "0.4.11", [figure])
    page = written(finished)
    assert re.search(r"<td>arc_easy</td><td>acc</td><td[^>]*>0.5125</td><td[^>]*>0.0103</td><td[^>]*>2376</td>", page)
    for expected in (
        "Finished:",
        "checkpoint-3 is picked",
        "0.500 → 0.750",
        "How to reproduce the run",
        "oneday reproduce",
    ):
        assert expected in page
    for verdict in ("better", "worse", "the same"):
        assert f">{verdict}</span> · task" in page
    assert "x" * 1201 not in page
    assert "<script src" not in page
    assert "&lt;/script&gt;&lt;img src=x" in page
    assert "<img src=x" not in page


@pytest.mark.parametrize(
    ("base_loss", "last_loss", "faint_share", "colour", "headline", "warning"),
    [
        (9.0, 1.0, 0.0, "better", "Better than the base: validation loss {best} against 9.0000", False),
        (9.0, 1.0, 0.2, "better", "Better than the base: validation loss {best} against 9.0000", True),
        (0.1, 0.05, 0.0, "worse", "NOT better than the base: validation loss {best} against 0.1000", False),
        (9.0, 9.5, 0.0, "worse", "training diverged (its last validation loss is 9.5000)", False),
        (None, 1.0, 0.0, "unknown", "Validation loss {best}; the base&#39;s was not measured", False),
    ],
)
def test_the_page_leads_with_the_verdict(
    finished: Path,
    base_loss: float | None,
    last_loss: float,
    faint_share: float,
    colour: str,
    headline: str,
    warning: bool,
) -> None:
    picked = json.loads((finished / "08_pick" / "picked.json").read_text())
    base = {"checkpoint": "base", "step": 0, "validation_loss": base_loss, "measured_by": "rehearsal"}
    picked["candidates"] += [base] * (base_loss is not None)
    (finished / "08_pick" / "picked.json").write_text(json.dumps(picked))
    manifest = json.loads((finished / "manifest.json").read_text())
    manifest["train"] |= {"last_loss": last_loss, "faint_share": faint_share}
    (finished / "manifest.json").write_text(json.dumps(manifest))
    body = written(finished).partition("<main>")[2].lstrip()
    first = body.partition("</p>")[0]
    assert first.startswith(f'<p class="verdict {colour}">')
    assert headline.format(best=f"{picked['validation_loss']:.4f}") in first
    assert ("had a learning rate below 1% of its peak" in body.partition("<h1>")[0]) == warning


def test_a_manifest_that_tells_no_end_is_named(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    manifest["train"]["last_loss"] = "low"
    (finished / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StageError, match=r"manifest\.json: damaged: train\.last_loss"):
        written(finished)


def test_a_killed_run_says_how_to_go_on(tmp_path: Path) -> None:
    ledger = Ledger.start(tmp_path / LEDGER, budget_s=100.0)
    ledger.enter("train")
    tell(tmp_path, step(3, 1.0))
    assert "Running: train, step 3 of about 50" in written(tmp_path)
    ledger.enter("idle")
    page = written(tmp_path)
    assert "Stopped, step 3 of about 50" in page
    assert '<p class="verdict' not in page
    assert "How to continue" in page


def test_two_runs_are_compared_by_what_differs(finished: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "other", symlinks=True))
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["train"]["recipe"]["learning_rate"] = 0.125
    (other / "manifest.json").write_text(json.dumps(manifest))
    page = written(finished, other)
    assert "Side by side" in page
    assert "train.recipe.learning_rate" in page
    assert "train.recipe.lora_r<" not in page
    assert "None: both runs have the same settings." in written(finished, finished)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, driven by Playwright, whose event loop runs until the fixture ends."""
    with chromium() as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 390)])
def test_in_a_browser_every_chart_is_drawn_and_no_request_leaves(
    finished: Path, browser: Any, scheme: str, width: int
) -> None:
    written(finished)
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{finished / 'report.html'}")
    page.wait_for_selector("#chart-timeline .main-svg")
    page.wait_for_selector("#chart-validation .main-svg")
    num_charts = page.locator(".plotly-graph-div").count()
    drawn = page.evaluate("[...document.querySelectorAll('.plotly-graph-div')].filter(c => c._fullData?.length).length")
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    ink = page.evaluate("document.querySelector('#chart-validation .xtick text').style.fill")
    colour = page.evaluate("getComputedStyle(document.body).color")
    context.close()
    assert num_charts == drawn >= 4
    assert [url for url in requests if not url.startswith(("file://", "data:"))] == []
    assert errors == []
    assert overflow == 0
    assert ink == colour


@pytest.mark.slow
def test_on_a_phone_the_checkpoints_fit(finished: Path, browser: Any) -> None:
    path = finished / "08_pick" / "picked.json"
    picked = json.loads(path.read_text())
    one = picked["candidates"][0] | {"validation_loss": 1.2345, "measured_by": "picker", "num_rows": 2_000}
    many = [
        one | {"checkpoint": f"checkpoint-{12_345 + n}", "step": 12_345 + n, "standard_error": 0.0123,
               "verdict": "12.3456 nats above the lowest"}
        for n in range(8)
    ]  # fmt: skip
    picked["candidates"] += [*many, one | {"checkpoint": f"average-of-{'-'.join(str(12_345 + n) for n in range(9))}"}]
    reason = {"unit": "checkpoint", "id": "checkpoint-99999", "reason": "damaged", "detail": "/a/path/" + "x" * 200}
    picked["rejected"] = [reason | {"source": ""}]
    path.write_text(json.dumps(picked))
    written(finished)
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(f"file://{finished / 'report.html'}")
    page.wait_for_selector("#checkpoints1")
    table, document = (
        page.evaluate(f"(e => e.scrollWidth - e.clientWidth)({element})")
        for element in ("document.querySelector('#checkpoints1')", "document.documentElement")
    )
    rows = page.locator("#checkpoints1 tr").count()
    context.close()
    assert rows >= 12
    assert (table, document) == (0, 0)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("manifest.json", "[]", "manifest.json: damaged"),
        ("08_pick/picked.json", "5", "picked.json: damaged"),
        ("10_scores/comparison.json", "5", "comparison.json: damaged"),
    ],
)
def test_a_damaged_file_is_named(finished: Path, file: str, content: str, said: str) -> None:
    (finished / file).write_text(content)
    with pytest.raises(StageError, match=said):
        written(finished)


def test_events_of_a_newer_version_are_skipped_and_counted(finished: Path) -> None:
    before = read_history(finished)
    assert "events of a newer version" not in written(finished)
    with (finished / "07_train" / "metrics.jsonl").open("a") as file:
        file.write('{"event":"dreamt","t":51005,"of":"sheep"}\n' * 3)
    assert read_history(finished) == replace(before, num_unknown_events=3)
    assert "events of a newer version, skipped" in written(finished)
