"""What a mix consists of: its rows counted by source, task, bucket, licence and length.

    counts = RowCounts()
    counts.add(row)

Where it sits: the mix stage counts with it; the manifest, the report and the command line show it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from curation.fit import Fit
from curation.sources.shortfall import ToldShortfall
from curation.sources.source import MixRow

LENGTH_STEP = 64
"""Width of a bar of the histogram of row lengths, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixDetails:
    """What the mix stage's `summary.json` says besides its tallies; `counts` in the mix's manifest."""

    train_rows: int
    validation_rows: int
    rows_by_source: Mapping[str, int]
    rows_by_task: Mapping[str, int]
    """By `source/task`."""
    rows_by_bucket: Mapping[str, int]
    """By `kind/bucket`."""
    rows_by_spdx: Mapping[str, int]
    tokens: int
    rows_by_tokens: Mapping[str, int]
    """By the lower edge of `LENGTH_STEP` tokens; rows whose tokens were not counted are not in it."""
    shortfalls: tuple[ToldShortfall, ...]
    own_share: float | None
    fit: Fit | None
    tokens_by_task: Mapping[str, int] = field(default_factory=dict)
    """As `rows_by_task`; tasks whose tokens were not counted are not in it."""


class RowCounts:
    """Counts rows."""

    def __init__(self) -> None:
        self.by_source: Counter[str] = Counter()
        self.by_task: Counter[str] = Counter()
        self.tokens_by_task: Counter[str] = Counter()
        self.by_bucket: Counter[str] = Counter()
        self.by_spdx: Counter[str] = Counter()
        self.by_length: Counter[int] = Counter()
        self.num_tokens = 0

    def add(self, row: MixRow) -> None:
        """Counts a row."""
        self.by_source[row.source] += 1
        self.by_task[f"{row.source}/{row.task}"] += 1
        self.by_spdx[row.spdx] += 1
        if row.bucket is not None:
            self.by_bucket[f"{row.kind}/{row.bucket}"] += 1
        self.num_tokens += row.num_tokens
        if row.num_tokens:
            self.tokens_by_task[f"{row.source}/{row.task}"] += row.num_tokens
            self.by_length[row.num_tokens // LENGTH_STEP * LENGTH_STEP] += 1

    def details(
        self,
        *,
        train_rows: int,
        validation_rows: int,
        shortfalls: tuple[ToldShortfall, ...],
        own_share: float | None,
        fit: Fit | None,
    ) -> MixDetails:
        """The counts with what the stages before said of the rows."""
        return MixDetails(
            train_rows=train_rows,
            validation_rows=validation_rows,
            rows_by_source=dict(sorted(self.by_source.items())),
            rows_by_task=dict(sorted(self.by_task.items())),
            rows_by_bucket=dict(sorted(self.by_bucket.items())),
            rows_by_spdx=dict(sorted(self.by_spdx.items())),
            tokens=self.num_tokens,
            rows_by_tokens={str(n): self.by_length[n] for n in sorted(self.by_length)},
            shortfalls=shortfalls,
            own_share=own_share,
            fit=fit,
            tokens_by_task=dict(sorted(self.tokens_by_task.items())),
        )
