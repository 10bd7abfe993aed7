"""What a study has spent: its ledger, and on a cluster one clock for each GPU, added up.

    spent(Path("runs/finnish"), budget_s=86_400).by_account

Where it sits: ledgers -> **spending** -> slots, `oneday watch`, the page.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.ledger.day import LedgerReport
from harness.ledger.ledger import Ledger
from studies.running.folder import LEDGER

CLOCKS = "clocks"
"""Folder of the clocks of a cluster's GPUs."""


def ledgers(folder: Path) -> list[Path]:
    """The files that hold what a study was charged."""
    own = folder / LEDGER
    return [*([own] if own.is_file() else []), *sorted((folder / CLOCKS).glob("*.jsonl"))]


def others_charged_s(folder: Path, *but: Path) -> float:
    """Seconds that the other ledgers of a study were charged."""
    return sum(Ledger.of_run(path).charged_s for path in ledgers(folder) if path not in but)


def left_s(folder: Path, *, budget_s: float) -> float:
    """Seconds of the budget that are left at this moment."""
    opened = [Ledger.of_run(path) for path in ledgers(folder)]
    return budget_s - sum(one.budget_s - one.left_s if one.is_alive else one.charged_s for one in opened)


def spent(folder: Path, *, budget_s: float) -> LedgerReport:
    """The reports of all ledgers of a study as one, for the whole budget."""
    reports = [Ledger.of_run(path).report() for path in ledgers(folder)]
    return LedgerReport(
        budget_s=budget_s,
        charged_s=round(sum(report.charged_s for report in reports), 3),
        overshoot_s=round(sum(report.overshoot_s for report in reports), 3),
        downtime_past_deadline_s=sum(report.downtime_past_deadline_s for report in reports),
        by_phase=_added(report.by_phase for report in reports),
        resumes=sum(report.resumes for report in reports),
        clock=reports[0].clock,
        not_charged=_added(report.not_charged or {} for report in reports) or None,
        by_account=_added(report.by_account or {} for report in reports) or None,
    )


def _added(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, seconds in part.items():
            total[name] = total.get(name, 0.0) + seconds
    return {name: round(seconds, 3) for name, seconds in total.items()}
