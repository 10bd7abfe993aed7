"""What was left out of the mix, by source and reason: counted as it is dropped, and told where a source falls short.

    losses = Losses(stage)
    losses.drop("lima", dropped)
    losses.by_source["lima"]["too_long"]

Where it sits: the samples stage counts with it; `sources/shortfall.py` turns the counts into sentences.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from core.files import read_jsonl
from core.stage import DROPPED, Dropped, Stage
from curation.candidate import Candidate


class Losses:
    """Drops rows of the samples stage and counts them by source.

    Args:
        stage: Its `dropped.jsonl` gets every row.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.by_source: dict[str, Counter[str]] = defaultdict(Counter)
        self.by_task: dict[str, Counter[str]] = defaultdict(Counter)
        """By `source/task`."""

    def drop(self, source: str, dropped: Dropped) -> None:
        """Drops a row."""
        self._stage.drop(dropped)
        self.by_source[source][dropped.reason] += 1
        self.by_task[f"{source}/{dropped.source}"][dropped.reason] += 1

    def drop_candidate(self, c: Candidate, reason: str, detail: str = "") -> None:
        """Drops a candidate; without another detail its bucket is noted."""
        shown = detail or ("" if c.bucket is None else f"bucket {c.bucket}")
        self.drop(c.source, Dropped(unit="row", id=c.id, reason=reason, detail=shown, source=c.task))

    def count_earlier(self, stages: tuple[Path, ...], source_of_task: Mapping[str, str]) -> None:
        """Adds the instances that earlier stages dropped: they were not asked, or not answered."""
        for stage in stages:
            for record in read_jsonl(stage / DROPPED):
                if record["unit"] == "instance" and record["source"] in source_of_task:
                    source, reason = source_of_task[record["source"]], record["reason"]
                    self.by_source[source][reason] += 1
                    self.by_task[f"{source}/{record['source']}"][reason] += 1

    def count_own(self, lost: Mapping[str, Mapping[str, int]]) -> None:
        """Adds own rows that were lost when tasks were selected, by the name of their file."""
        for name, reasons in lost.items():
            self.by_source[name].update(reasons)


def in_order(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Counts by reason as they are written into a summary."""
    return {key: dict(sorted(reasons.items())) for key, reasons in sorted(counts.items())}
