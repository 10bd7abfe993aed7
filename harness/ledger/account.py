"""An account: the part of one budget that a training or a generation of a study may use.

    ledger = Ledger.start(Path("runs/finnish/ledger.jsonl"), budget_s=86_400, run_id="finnish")
    account = Account.open(folder / "ledger.jsonl", of=ledger, name="d15a0143", share_s=2_300)
    account.enter("train")                # in its own ledger, and in that of the study under its name

It is a ledger of its own, whose budget is the share; whoever trains under it needs to know of no other. Every phase is
also written to the ledger that it belongs to, and time ends when either of both ends.

Where it sits: ledger -> **account** -> a study's trainings and generations.
"""

from pathlib import Path

from harness.budget.clock import Clock
from harness.ledger.day import PhaseName
from harness.ledger.ledger import Ledger


class Account(Ledger):
    """An open account. It is made by `open`."""

    _of: Ledger
    _name: str

    @classmethod
    def open(cls, path: Path, *, of: Ledger, name: str, share_s: float, clock: Clock | None = None) -> "Account":
        """Opens it, or goes on with the one that `path` holds; then `share_s` is what it may still use.

        Args:
            of: The open ledger of the whole budget.
        """
        of.enter("load", account=name)
        account = cls.start(path, budget_s=share_s, run_id=name, charging=of.charging, clock=clock)
        account._of, account._name = of, name
        account.rebudget(account.charged_s + share_s)
        return account

    @property
    def left_s(self) -> float:
        """Seconds to the end of the share, or of the whole budget if that is earlier."""
        return min(super().left_s, self._of.left_s)

    def enter(self, phase: PhaseName, *, at: float | None = None, account: str = "") -> None:
        """From now (or `at`) on, time is charged to `phase`, here and in the whole budget."""
        assert not account, "an account has no accounts"
        super().enter(phase, at=at)
        self._of.enter(phase, at=at, account=self._name)

    def beat(self) -> None:
        """A heartbeat of both."""
        super().beat()
        self._of.beat()

    def stop(self, *, at_last: bool = False) -> None:
        """Nothing is charged to this account any more; the whole budget goes on."""
        super().stop(at_last=at_last)
        self._of.enter("idle")
