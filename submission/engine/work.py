"""The jobs of an engine: those that wait to be started and those that are being answered, token by token.

    work = Work(engine, on_done)
    work.pending += jobs
    while work.load.num_rows:
        work.advance()

If memory is too small for all of them, no job fails: they are started again, fewer at a time.

Where it sits: engine -> **work** -> generate.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch

from core.decoding.prefix_cache import PrefixCache
from core.model.language_model import LanguageModel
from submission.engine.generate import Decoder, Row
from submission.engine.job import Completion, Job, Load, OnDone
from submission.errors import TooLargeError

MOST_ROWS = 1_024
"""The largest batch."""


CALM_TOKENS = 256
"""After this many tokens without an out-of-memory error, the batch limit is doubled."""


class Answering(Protocol):
    """What `Work` needs from an engine."""

    model: LanguageModel
    prefixes: PrefixCache

    def row(self, job: Job) -> Row:
        """The decoder's row for a job."""

    def send(self, job: Job, row: Row) -> None:
        """Sends the tokens that are certain, to a job that asked for them."""

    def completion(self, job: Job, row: Row | None) -> Completion:
        """The answer."""


class Work:
    """The jobs that wait to be started and those that are being answered."""

    def __init__(self, engine: Answering, on_done: OnDone) -> None:
        self._engine, self._on_done = engine, on_done
        self.decoder = Decoder(engine.model, engine.prefixes)
        self.pending: list[Job] = []
        self._jobs: dict[int, Job] = {}
        self._most_rows = MOST_ROWS
        """The batch limit: lowered after an out-of-memory error, raised again after a while."""
        self._calm_for = 0

    @property
    def load(self) -> Load:
        """The current load, pending jobs included."""
        jobs = [*self._jobs.values(), *self.pending]
        return Load(num_rows=len(jobs), size=max((job.size for job in jobs), default=0))

    def advance(self) -> None:
        """Starts pending jobs and generates one token for all rows."""
        room = max(0, self._most_rows - len(self.decoder.rows))
        begun, self.pending = self.pending[:room], self.pending[room:]
        self._calm_for += 1
        if self._calm_for > CALM_TOKENS:
            self._most_rows, self._calm_for = min(MOST_ROWS, 2 * self._most_rows), 0
        if self.decoder.rows:
            self._guarded(self.decoder.rows, self.decoder.step)
        if begun:
            self._begin(begun)
        for row in self.decoder.rows:
            job = self._jobs[id(row)]
            if job.stream is not None:
                self._engine.send(job, row)

    def _begin(self, jobs: Sequence[Job]) -> None:
        rows = []
        for job in jobs:
            if job.max_new_tokens == 0 and not job.request.echo:
                self._tell(job, None)
            else:
                try:
                    row = self._engine.row(job)
                except Exception as e:
                    self._on_done(job, e)
                    continue
                self._jobs[id(row)] = job
                rows.append(row)
        if rows:
            self._guarded(rows, partial(self.decoder.admit, rows))

    def _guarded(self, rows: Sequence[Row], work: Callable[[], list[Row]]) -> None:
        """Reports rows that ended. After an out-of-memory error, starts all rows again, fewer at a time."""
        concerned = list({id(row): row for row in (*self.decoder.rows, *rows)}.values())
        try:
            for row in work():
                self._tell(self._jobs.pop(id(row)), row)
        except torch.OutOfMemoryError:
            self.decoder.clear()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            jobs = [self._jobs.pop(id(row)) for row in concerned if id(row) in self._jobs]
            if len(jobs) == 1:
                error = TooLargeError(f"not enough memory for {jobs[0].size} tokens")
                self._on_done(jobs[0], error)
                return
            self._most_rows = max(1, len(jobs) // 2)
            self._calm_for = 0
            self.pending = [*jobs, *self.pending]
        except Exception as e:
            self.decoder.clear()
            for row in concerned:
                if id(row) in self._jobs:
                    self._on_done(self._jobs.pop(id(row)), e)

    def _tell(self, job: Job, row: Row | None) -> None:
        result: Completion | Exception
        try:
            result = self._engine.completion(job, row)
        except torch.OutOfMemoryError:
            result = TooLargeError(f"not enough memory for {job.size} tokens")
        except Exception as e:
            result = e
        self._on_done(job, result)
