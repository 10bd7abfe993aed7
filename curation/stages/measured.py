"""What the signals of a run's rows say together: how many were measured, and how their losses and IFD spread.

    measured = Measured()
    measured.add(Signals(num_tokens=4, loss=1.2, loss_alone=2.4))
    measured.details().ifd

Where it sits: the predictions stage counts with it; its summary and the page of the mix show the result.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass

from core.generation.signals import Signals

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDetails:
    """Of all asked rows. Quantiles by their share."""

    num_measured: int
    num_unmeasured: int
    """Rows whose answer is empty, or too long for the model's context."""
    num_tokens: int
    """Tokens of all measured answers."""
    loss: Mapping[str, float]
    """Mean loss per token behind the prompt."""
    loss_alone: Mapping[str, float]
    ifd: Mapping[str, float]
    num_misled: int
    """Rows with an IFD above 1: the prompt makes the answer less likely."""


class Measured:
    """Counts signals; 24 bytes a row."""

    def __init__(self) -> None:
        self._loss, self._alone, self._ifd = array("d"), array("d"), array("d")
        self._num_tokens = self._num_unmeasured = 0

    @property
    def num(self) -> int:
        """Measured rows."""
        return len(self._loss)

    def add(self, signals: Signals | None) -> None:
        """One row."""
        if signals is None:
            self._num_unmeasured += 1
            return
        self._num_tokens += signals.num_tokens
        self._loss.append(signals.loss)
        self._alone.append(signals.loss_alone)
        if signals.ifd is not None:
            self._ifd.append(signals.ifd)

    def details(self) -> MeasuredDetails:
        """What the summary says."""
        return MeasuredDetails(
            num_measured=len(self._loss),
            num_unmeasured=self._num_unmeasured,
            num_tokens=self._num_tokens,
            loss=_quantiles(self._loss),
            loss_alone=_quantiles(self._alone),
            ifd=_quantiles(self._ifd),
            num_misled=sum(value > 1 for value in self._ifd),
        )


def _quantiles(values: "array[float]") -> dict[str, float]:
    """The value below which each share of the values lies."""
    ordered = sorted(values)
    return {f"{share:g}": round(ordered[int(share * (len(ordered) - 1))], 4) for share in QUANTILES if ordered}
