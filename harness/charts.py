"""The charts of a run's report as HTML fragments that share one embedded script. Only this module imports Plotly.

    charts = run_charts([history])
    charts["loss"].html, script()

The colours suit a light and a dark page; the page's script sets the text colour. Each run has its own colour.

Where it sits: history -> **charts** -> report.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from harness.history import History, smoothed

PHASE_COLOURS = {
    "load": "#8e8cd8", "pack": "#c58ad0", "train": "#3b82c4", "evaluate": "#e0a13c", "save": "#4fae7b",
    "pick": "#d4645c", "export": "#7f9c3a", "generate": "#3fa7a3", "score": "#a8763e",
    "idle": "#9a9a9a", "down": "#5c5c5c",
}  # fmt: skip
RUN_COLOURS = ("#3b82c4", "#d9822b")
_GRID, _INK = "rgba(128,128,128,.22)", "#808080"
_CONFIG = {"displayModeBar": False, "responsive": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart as an HTML fragment."""

    title: str
    html: str
    note: str = ""


def script() -> str:
    """Plotly's JavaScript, which the page embeds once, so that it works offline."""
    return str(get_plotlyjs())


def run_charts(histories: Sequence[History]) -> dict[str, Chart]:
    """Every chart that has data, by name, in reading order."""
    charts = {
        "timeline": _timeline(histories),
        "loss": _loss(histories),
        "validation": _validation(histories),
        "speed": _speed(histories),
        "rate": _rate(histories),
    }
    return {name: chart for name, chart in charts.items() if chart is not None}


def bar_chart(name: str, title: str, values: Sequence[tuple[str, float]]) -> Chart:
    """Horizontal bars, the first on top."""
    figure = go.Figure(
        go.Bar(
            y=[label for label, _ in values],
            x=[value for _, value in values],
            orientation="h",
            marker_color=RUN_COLOURS[0],
            hovertemplate="%{y}: %{x:,}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", ticksuffix=" ")
    return _chart(name, title, figure, height=90 + 26 * len(values))


def _chart(name: str, title: str, figure: go.Figure, *, height: int = 300, note: str = "") -> Chart:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _INK, "size": 12, "family": "system-ui, sans-serif"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        dragmode=False,  # a finger scrolls the page
    )
    figure.update_xaxes(gridcolor=_GRID, zerolinecolor=_GRID, automargin=True)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID, automargin=True)
    html = figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"chart-{name}", config=_CONFIG)
    return Chart(title=title, html=str(html), note=note)


def _unit(histories: Sequence[History]) -> tuple[float, str]:
    """Seconds per axis unit and the unit's name, chosen so that a run spans about 2 to 200 units."""
    longest = max(h.day.budget_s for h in histories)
    return (3600.0, "hours") if longest >= 7200 else (60.0, "minutes") if longest >= 120 else (1.0, "seconds")


def _timeline(histories: Sequence[History]) -> Chart | None:
    if not any(h.spans for h in histories):
        return None
    unit, name = _unit(histories)
    figure = go.Figure()
    for phase, colour in PHASE_COLOURS.items():
        spans = [(h.name, span) for h in histories for span in h.spans if span.phase == phase]
        if spans:
            figure.add_trace(
                go.Bar(
                    name=phase,
                    y=[run for run, _ in spans],
                    base=[span.start_s / unit for _, span in spans],
                    x=[span.seconds / unit for _, span in spans],
                    customdata=[[span.seconds, span.start_s / unit] for _, span in spans],
                    orientation="h",
                    marker={"color": colour, "line": {"width": 0}},
                    hovertemplate=f"{phase}: %{{customdata[0]:.1f}} s, from %{{customdata[1]:.2f}} on<extra></extra>",
                )
            )
    for deadline in sorted({h.day.budget_s / unit for h in histories}):
        figure.add_vline(x=deadline, line={"color": "#d4645c", "width": 2, "dash": "dash"})
        figure.add_annotation(
            x=deadline, y=1, yref="paper", yanchor="bottom", text="deadline", showarrow=False, font_color="#d4645c"
        )
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title=f"{name} of the budget", range=[0, 1.06 * max(h.day.budget_s for h in histories) / unit])
    figure.update_yaxes(showticklabels=len(histories) > 1, autorange="reversed")
    return _chart("timeline", "The budget by phase", figure, height=150 + 46 * len(histories))


def _label(history: History, text: str, histories: Sequence[History]) -> str:
    return f"{history.name}: {text}" if len(histories) > 1 else text


def _loss(histories: Sequence[History]) -> Chart | None:
    figure = go.Figure()
    for number, h in enumerate(histories):
        if not h.steps:
            continue
        x, y = [s.step for s in h.steps], [s.loss if math.isfinite(s.loss) else None for s in h.steps]
        colour = RUN_COLOURS[number % 2]
        if len(histories) == 1:
            figure.add_scatter(
                x=x, y=y, mode="markers", marker={"size": 3, "color": colour, "opacity": 0.35},
                name="one step", hovertemplate="step %{x}: %{y:.4f}<extra></extra>",
            )  # fmt: skip
        figure.add_scatter(
            x=x, y=smoothed([s.loss for s in h.steps]), mode="lines", line={"width": 2, "color": colour},
            name=_label(h, "smoothed", histories), hovertemplate="step %{x}: %{y:.4f}<extra></extra>",
        )  # fmt: skip
    if not figure.data:
        return None
    figure.update_xaxes(title="step")
    figure.update_yaxes(title=histories[0].loss_unit, rangemode="tozero")
    return _chart("loss", "Training loss", figure)


def _validation(histories: Sequence[History]) -> Chart | None:
    figure = go.Figure()
    for number, h in enumerate(histories):
        if not h.evaluations:
            continue
        colour = RUN_COLOURS[number % 2]
        figure.add_scatter(
            x=[e.step for e in h.evaluations],
            y=[e.loss if math.isfinite(e.loss) else None for e in h.evaluations],
            mode="lines+markers", line={"color": colour, "width": 2}, marker={"size": 6},
            name=_label(h, "validation loss", histories),
            hovertemplate="step %{x}: %{y:.4f}<extra></extra>",
        )  # fmt: skip
        if h.picked:
            figure.add_scatter(
                x=[h.picked.step], y=[h.picked.validation_loss], mode="markers",
                marker={"symbol": "star", "size": 15, "color": "#4fae7b", "line": {"color": colour, "width": 1}},
                name=_label(h, "picked", histories), hovertemplate="picked: step %{x}, %{y:.4f}<extra></extra>",
            )  # fmt: skip
    if not figure.data:
        return None
    figure.update_xaxes(title="step")
    figure.update_yaxes(title=histories[0].loss_unit)
    return _chart("validation", "Validation loss", figure)


def _speed(histories: Sequence[History]) -> Chart | None:
    unit, name = _unit(histories)
    figure = go.Figure()
    for number, h in enumerate(histories):
        timed = [(s.at_s / unit, s.tokens_per_s) for s in h.steps if s.tokens_per_s]
        if timed:
            figure.add_scatter(
                x=[x for x, _ in timed], y=[y for _, y in timed], mode="lines",
                line={"width": 1.5, "color": RUN_COLOURS[number % 2]}, name=_label(h, "tokens/s", histories),
                hovertemplate=f"{name} %{{x:.2f}}: %{{y:,.0f}} tokens/s<extra></extra>",
            )  # fmt: skip
    if not figure.data:
        return None
    figure.update_xaxes(title=f"{name} of the budget")
    figure.update_yaxes(title="tokens/s", rangemode="tozero")
    note = "Speed between reported steps, without the time of evaluations and saves."
    return _chart("speed", "Speed", figure, height=240, note=note)


def _rate(histories: Sequence[History]) -> Chart | None:
    figure = go.Figure()
    for number, h in enumerate(histories):
        if h.steps:
            figure.add_scatter(
                x=[s.step for s in h.steps], y=[s.learning_rate for s in h.steps], mode="lines",
                line={"width": 2, "color": RUN_COLOURS[number % 2]}, name=_label(h, "learning rate", histories),
                hovertemplate="step %{x}: %{y:.3g}<extra></extra>",
            )  # fmt: skip
    if not figure.data:
        return None
    figure.update_xaxes(title="step")
    figure.update_yaxes(exponentformat="power", rangemode="tozero")
    return _chart("rate", "Learning rate", figure, height=240)
