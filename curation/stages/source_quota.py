"""When enough rows of another source were examined."""

from collections.abc import Callable


class SourceQuota:
    """Tells when enough rows of a source were examined, those that repeat each other counted once."""

    def __init__(self, wanted: int) -> None:
        self._wanted = self._most = wanted
        self._num = 0

    def take(self) -> None:
        """One more row may be drawn."""
        self._num += 1

    def is_filled(self, num_repeats: Callable[[], int] | None) -> bool:
        """Whether the rows so far fill the quota.

        Args:
            num_repeats: Counts the rows that repeat another one; called only when there are enough rows at all. None:
                near duplicates are not looked for.
        """
        if self._num < self._most:
            return False
        if num_repeats is None:
            return True
        distinct = self._num - num_repeats()
        self._most += max(self._wanted - distinct, self._most // 10)
        return distinct >= self._wanted * _MARGIN or distinct == self._wanted == 0


_MARGIN = 1.02
"""Reserve for rows that repeat a row of another source, which is found later."""
