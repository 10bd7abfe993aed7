"""A picture of a scored field: one self-contained SVG, light and dark, without a library or a request.

    write_plot(Path("scores.svg"), standings, title="published rule", new=frozenset({"mine"}))

A line per submission, best first: a bar for the final score with marks for its open and hidden half, then the mean win
rates as a grid, the stronger the colour the better.

Where it sits: the last step; `oneday score` writes it.
"""

from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path

from core.files import atomic_writer
from submission.errors import TableError
from submission.score.ranks import SCENARIOS
from submission.score.score import Standing

SUFFIX = ".svg"

_NAMES, _BARS, _CELL, _LINE, _TOP, _EDGE = 320, 330, 74, 34, 96, 20
"""Pixels: width of names and of bars, of a grid cell, height of a line, of the head, of the margins."""

_NAME_CHARACTERS = 37

_STYLE = """
svg { --bg: #fbfbf9; --ink: #1d1f23; --soft: #666b75; --line: #e3e3de; --bar: #3b6fb6; --new: #a4501b; }
@media (prefers-color-scheme: dark) {
  svg { --bg: #14161a; --ink: #e7e8ea; --soft: #9aa0ab; --line: #2d323b; --bar: #6f9fe0; --new: #f0a56b; }
}
text { font: 13px system-ui, "Segoe UI", Roboto, sans-serif; fill: var(--ink); dominant-baseline: middle; }
.title { font-size: 17px; font-weight: 600; } .soft { fill: var(--soft); font-size: 12px; }
.m { text-anchor: middle; }
.bg { fill: var(--bg); } .axis { stroke: var(--line); } .bar { fill: var(--bar); } .new { fill: var(--new); }
.open { fill: var(--bg); stroke: var(--ink); stroke-width: 1.5; } .hidden { fill: var(--ink); }
"""


def check_plot(path: Path) -> None:
    """Refuses a name that does not say SVG, before anything is computed."""
    if path.suffix.lower() != SUFFIX:
        raise TableError(f"`plot={path}`: only SVG is drawn. Name it {path.stem or 'scores'}{SUFFIX}.")


def write_plot(path: Path, standings: Sequence[Standing], *, title: str, new: Collection[str] = ()) -> None:
    """Draws a field; the names in `new` stand out."""
    with atomic_writer(path) as f:
        f.write(draw(standings, title=title, new=new).encode())


def draw(standings: Sequence[Standing], *, title: str, new: Collection[str] = ()) -> str:
    """The SVG."""
    width = 2 * _EDGE + _NAMES + _BARS + _CELL * len(SCENARIOS)
    height = _TOP + _LINE * len(standings) + 2 * _EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="bg" width="{width}" height="{height}"/>',
        _text(_EDGE, 28, title, "title"),
        *_head(height),
    ]
    for number, standing in enumerate(standings):
        parts += _line(standing, _TOP + _LINE * number, is_new=standing.name in new)
    return "\n".join([*parts, "</svg>", ""])


def _head(height: int) -> list[str]:
    """Legend, axis of the bars, names of the grid's columns."""
    y, bars = _TOP - 16, _EDGE + _NAMES
    parts = [_text(bars, 56, "final score", "soft")]
    parts += [*_marks(bars + 84, bars + 142, 56), _text(bars + 94, 56, "open", "soft")]
    parts.append(_text(bars + 152, 56, "hidden", "soft"))
    for tenth in range(0, 11, 2):
        x = _x(tenth / 10)
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{_TOP - 6}" y2="{height - 2 * _EDGE + 4}"/>')
        parts.append(_text(x, y, f"{tenth / 10:g}", "soft m"))
    parts.append(_text(_cell_x(0) - _CELL // 2 + 4, 56, "mean win rates", "soft"))
    parts += [_text(_cell_x(i), y, scenario.name, "soft m") for i, scenario in enumerate(SCENARIOS)]
    return parts


def _line(standing: Standing, top: int, *, is_new: bool) -> list[str]:
    """One submission."""
    y = top + _LINE // 2
    parts = [f"<g><title>{escape(standing.name)}</title>"]
    parts.append(_text(_EDGE, y, short(standing.name, _NAME_CHARACTERS), "new" if is_new else ""))
    if standing.full is not None and standing.open is not None and standing.hidden is not None:
        length = _x(standing.full) - _x(0)
        parts.append(
            f'<rect class="{"new" if is_new else "bar"}" x="{_x(0)}" y="{y - 9}" width="{length}" height="18" rx="3"/>'
        )
        parts += _marks(_x(standing.open), _x(standing.hidden), y)
        parts.append(_text(_x(1) + 8, y, f"{standing.full:.3f}", ""))
    else:
        parts.append(_text(_x(0) + 6, y, "not comparable", "soft"))
    for i, scenario in enumerate(SCENARIOS):
        parts += _cell(_cell_x(i), top, standing.win_rates.get(scenario.name))
    return [*parts, "</g>"]


def _marks(open_x: float, hidden_x: float, y: int) -> list[str]:
    """Where the open and the hidden half stand."""
    return [
        f'<circle class="open" cx="{open_x}" cy="{y}" r="5"/>',
        f'<path class="hidden" d="M{hidden_x} {y - 6}l6 6l-6 6l-6 -6z"/>',
    ]


def _cell(x: int, top: int, rate: float | None) -> list[str]:
    """One mean win rate."""
    shade = 0 if rate is None else round(0.06 + 0.6 * rate, 3)
    return [
        f'<rect class="bar" fill-opacity="{shade}" x="{x - _CELL // 2 + 2}" y="{top + 2}" width="{_CELL - 4}" '
        f'height="{_LINE - 4}" rx="3"/>',
        _text(x, top + _LINE // 2, "-" if rate is None else f"{rate:.3f}", "m"),
    ]


def _x(share: float) -> float:
    """Where a score stands on the axis; the number beside the bar needs the last 60 pixels."""
    return round(_EDGE + _NAMES + share * (_BARS - 60), 1)


def _cell_x(number: int) -> int:
    """The middle of a column of the grid."""
    return _EDGE + _NAMES + _BARS + _CELL * number + _CELL // 2


def _text(x: float, y: float, text: str, classes: str) -> str:
    return f'<text x="{x}" y="{y}" class="{classes}">{escape(text)}</text>'


def short(name: str, most: int) -> str:
    """A long name without its middle."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[: most - 1 - half]}…{name[-half:]}"
