"""When enough rows of another source were examined."""

from pathlib import Path

from curation.policies.duplicate import NearDuplicates


class SourceQuota:
    """Tells when enough rows of a source were examined, those that repeat each other counted once."""

    def __init__(self, wanted: int) -> None:
        self._wanted = self._most = wanted
        self._signatures: list[bytes] = []

    def take(self, signature: bytes) -> None:
        """One more row may be drawn."""
        self._signatures.append(signature)

    def is_filled(self, threshold: float | None, work: Path) -> bool:
        """Whether the rows so far fill the quota; looked up only when there are enough of them at all."""
        if len(self._signatures) < self._most:
            return False
        if threshold is None:
            return True
        duplicates = NearDuplicates(threshold, work / "source_signatures.bin")
        for signature in self._signatures:
            duplicates.add(signature)
        distinct = len(self._signatures) - len(duplicates.find())
        self._most += max(self._wanted - distinct, self._most // 10)
        return distinct >= self._wanted * _MARGIN or distinct == self._wanted == 0


_MARGIN = 1.02
"""A row may also repeat one of another source, which is told at the end."""
