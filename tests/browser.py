"""The system's Chromium, driven by Playwright. Without one of them, tests are skipped."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser, whose event loop runs until the block ends."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine: the page was not looked at in a browser")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield browser
        browser.close()


def assert_bars_are_drawn(path: Path, *, width: int, scheme: str) -> None:
    """A bar is visible, nothing flows over the page's edge, and nothing but the file is asked for."""
    with chromium() as browser:
        page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"file://{path}")
        widths = page.evaluate("[...document.querySelectorAll('.fill')].map(bar => bar.getBoundingClientRect().width)")
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert max(widths) > 50
    assert overflow <= 0
    assert requests == [f"file://{path}"]
