"""The display of a run in the terminal: events as lines, measured costs, the budget as table and bar."""

from core.files import read_json
from core.run_folder import PICK, TRAIN
from harness.base_model import licence_of
from harness.budget.duration import pretty
from harness.budget.rehearse import Rehearsal
from harness.budget.speed import SpeedMeter
from harness.checkpoint.pick import KINDS
from harness.inside.events import (
    DiskFull,
    Evaluation,
    Event,
    NotFinite,
    Phase,
    Restart,
    Save,
    Step,
    Stopping,
    TrackerFailed,
    TrainBegin,
    TrainEnd,
)
from harness.inside.kernels import describe
from harness.job import TrainJob
from harness.ledger.day import LedgerReport
from harness.ledger.ledger import Ledger
from harness.run import LEDGER, TrainResult
from oneday.display.console import Console
from oneday.requests.looking import LedgerRequest

ENDINGS = {
    "deadline": "stopped for the deadline",
    "epochs": "all epochs done",
    "plan": "the followed plan ended",
    "killed": "the trainer did not end in time and was killed at the deadline",
    "signal": "stopped by a signal",
    "not_finite": "stopped at a loss that is not finite; the best checkpoint before it is kept",
}


class TrainingDisplay:
    """Shows events: the latest one in a status line, evaluations and unusual events in lines of their own.

    Args:
        calm: Show only unusual events, because a live view shows steps and losses.
    """

    def __init__(self, console: Console, *, calm: bool = False) -> None:
        self._console = console
        self._calm = calm
        self._speed = SpeedMeter()
        self._status = "starting Axolotl"
        self._best: float | None = None

    def __call__(self, event: Event, left_s: float) -> None:
        """Shows one event."""
        self._speed.add(event)
        self._status = self._status_after(event)
        if isinstance(event, Evaluation) and not self._calm:
            better = self._best is None or event.validation_loss < self._best
            self._best = event.validation_loss if better else self._best
            mark = " (best so far)" if better else ""
            self._console.say(
                f"step {event.step:>6}  validation loss {event.validation_loss:.4f}{mark}{_rewards(event)}, "
                f"{event.seconds:.1f} s"
            )
        elif text := _unusual_event_text(event):
            self._console.say(text)
        self._console.status(f"{self._status} | budget left {pretty(max(0.0, left_s))}")

    def _status_after(self, event: Event) -> str:
        """The status line after an event; some events do not change it."""
        match event:
            case TrainBegin():
                return f"training, step {event.step + 1} is the next"
            case Step():
                speed = f" | {self._speed.tokens_per_s:,.0f} tokens/s" if self._speed.tokens_per_s else ""
                return f"step {event.step:>6} of about {event.horizon} | loss {event.loss:.4f}{speed}"
            case Phase():
                return f"step {self._speed.steps:>6} | {'evaluating' if event.phase == 'evaluate' else 'saving'}"
            case Evaluation() | Save():
                return f"step {event.step:>6} | {event.event}d"
            case Stopping():
                return f"step {event.step:>6} | stopping"
            case TrainEnd():
                return f"step {event.step:>6} | trained; picking"
            case Restart():
                return "starting Axolotl again"
        return self._status


def _unusual_event_text(event: Event) -> str:
    """The text of an unusual event; empty for the others."""
    match event:
        case TrainBegin():
            return "training" if event.step == 0 else f"training resumes from step {event.step}"
        case Restart():
            return f"the trainer ended ({event.because}); it is started again from the last complete checkpoint"
        case TrackerFailed():
            return f"{event.tracker} failed and is disabled; training continues: {event.why}"
        case DiskFull():
            return (
                f"step {event.step:>6}  the disk is full: not saved; training continues with the existing checkpoints"
            )
        case Stopping():
            return f"step {event.step:>6}  stopping (reason: {event.because}) with a last evaluation and save"
        case NotFinite():
            return f"step {event.step:>6}  the loss is {event.loss}: stopping; the best checkpoint is kept"
    return ""


def show_rehearsal(measured: Rehearsal, job: TrainJob, console: Console) -> None:
    """Shows the measurements of a rehearsal."""
    memory = f", peak memory {measured.peak_memory_gib:.1f} GiB" if measured.peak_memory_gib is not None else ""
    if measured.peak_memory_gib is not None:
        memory += f" of {job.card.memory_gib:g}"
    if measured.peak_by_phase_gib:
        memory += f" ({', '.join(f'{phase} {gib:.1f}' for phase, gib in measured.peak_by_phase_gib.items())})"
    console.say(
        f"measured: {measured.describe()}{memory}; the shortest budget is {pretty(measured.minimum_s(job.averaging))}"
    )
    if measured.few_steps:
        console.alarm(measured.few_steps)
    if measured.base_loss is not None:
        console.say(f"the base without an adapter: validation loss {measured.base_loss:.4f}")
    if measured.kernels:
        console.say(f"kernels that ran: {describe(measured.kernels)}")
    console.say(f"base model: {job.base}, licence {licence_of(job.base) or 'not stated in its folder'}")


def show_training(result: TrainResult, console: Console) -> None:
    """Shows the verdict, the spent budget and the picked checkpoint."""
    verdict = result.verdict
    (console.say if verdict.is_good else console.alarm)(verdict.headline)
    if verdict.warning:
        console.alarm(verdict.warning)
    if result.was_done:
        console.say(f"{result.run}: training had finished before; nothing was computed")
    show_ledger(result.ledger, console)
    picked = result.picked
    summary = read_json(result.run / TRAIN / "summary.json")
    rows = summary["tallies"]["row"]
    if rows["dropped"]:
        reasons = ", ".join(f"{num} {reason.replace('_', ' ')}" for reason, num in rows["dropped"].items())
        console.say(f"rows: {rows['kept']} of {rows['read']}; left out: {reasons}")
    if summary["details"].get("num_ends_removed"):
        console.say(
            f"removed the text of the end token from the end of {summary['details']['num_ends_removed']} answers"
        )
    console.say(
        f"{result.steps} steps, {result.tokens_per_s:,.0f} tokens/s while training; {ENDINGS[result.stop_reason]}; "
        f"picked {picked.checkpoint} of {picked.num_checkpoints}, validation loss {picked.validation_loss:.4f}"
    )
    console.say(f"{KINDS[picked.kind]}: {result.run / PICK / picked.kind}")


def _rewards(event: Evaluation) -> str:
    """What is measured of pairs besides their loss; empty for other objectives."""
    if event.reward_accuracy is None or event.reward_margin is None:
        return ""
    return f", chosen answer preferred in {event.reward_accuracy:.1%} of pairs, margin {event.reward_margin:+.3f}"


def show_ledger(report: LedgerReport, console: Console) -> None:
    """Shows the budget by phase."""
    rows = [(phase, f"{spent:.1f}", f"{spent / report.budget_s:.1%}") for phase, spent in report.by_phase.items()]
    rows.append(("charged", f"{report.charged_s:.1f}", f"{report.charged_s / report.budget_s:.1%}"))
    if report.downtime_past_deadline_s:
        rows.append(("downtime past the deadline", f"{report.downtime_past_deadline_s:.1f}", "not charged"))
    rows += [(what, f"{spent:.1f}", "not charged") for what, spent in (report.not_charged or {}).items()]
    console.table(
        f"budget {pretty(report.budget_s)}, exceeded by {report.overshoot_s:.1f} s", ("phase", "s", "share"), rows
    )


def run_ledger(request: LedgerRequest, console: Console) -> None:
    """Shows the budget of a run as a table and a bar."""
    report = Ledger.of_run(request.run / LEDGER).report()
    show_ledger(report, console)
    console.say(bar(report))
    names = ("budget_s", "charged_s", "overshoot_s", "downtime_past_deadline_s", "by_phase", "resumes")
    console.result({name: getattr(report, name) for name in names} | {"not_charged": report.not_charged})


BAR_WIDTH = 60
SIGNS = {
    "load": "l", "pack": "p", "train": "█", "evaluate": "e", "save": "s", "pick": "k", "export": "x", "generate": "g",
    "score": "c", "idle": "i", "down": "·",
}  # fmt: skip


def bar(report: LedgerReport) -> str:
    """The budget as one line of characters; very short phases are not visible."""
    signs = "".join(
        SIGNS[phase] * round(BAR_WIDTH * spent / report.budget_s) for phase, spent in report.by_phase.items()
    )
    shown = ", ".join(f"{SIGNS[phase]} {phase}" for phase in report.by_phase)
    return f"[{signs[:BAR_WIDTH]:<{BAR_WIDTH}}] {shown}"
