"""The losses of a curation's rows before and after a probe training, for the policy that drops rows that stay hard.

    num = write_probe_losses(Path("runs/ni"), Probe(base, adapter, None), Path("losses.jsonl"), on_progress=show)

The probe is any run that was trained for a few minutes on other rows: a row that it was trained on is easy afterwards
because it was learnt by heart. Losses are means over the answer's tokens, the end token included, behind the prompt of
a training row. A killed call goes on where it was.

Where it sits: rows of curation + a checkpoint of the harness -> **probe losses** -> `probe_losses=` of curation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import orjson

from core.errors import StageError
from core.example.prompt import training_prompt
from core.files import sha256, write_jsonl
from core.generation.answer_loss import answer_losses
from core.generation.answer_store import ShardStore
from core.model.folder import model_fingerprint
from core.model.language_model import LanguageModel
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import rows_ids
from core.run_folder import SCORES, TASKS
from curation.candidate import CandidateParameters, is_solved
from curation.ni.instances import INSTANCES, InstanceStore
from curation.ni.row import TaskRows
from curation.ni.select import read_selected
from curation.policies.learnable import ProbeLoss
from curation.sources.source import MixRow
from curation.stages.scores import BLOCKS, read_block, read_blocks
from harness.checkpoint.exchange import Exchange

STORE = "probe.jsonl"
"""File in the run folder with both losses of each row, by the hash of models and texts."""

_CHUNK = 256
"""Rows between two exchanges of the weights."""

_BATCH_TOKENS = 4_096
_DIGITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A trained checkpoint: an adapter on its base, or a whole model beside the base that it was trained from."""

    base: Path
    checkpoint: Path
    precision: Precision | Quantisation | None


def write_probe_losses(
    run: Path,
    probe: Probe,
    out: Path,
    *,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> int:
    """Measures the rows of a run that the base got wrong or was not asked about, and returns how many were written.

    Raises:
        StageError: the run has not scored its rows.
        PredictionError: the probe does not fit its base.
    """
    if not (run / SCORES / BLOCKS).is_file():
        raise StageError(f"{run}: its rows are not scored yet. Finish `oneday curate` on it first.")
    total = sum(1 for _ in weak_rows(run))
    with ShardStore(run / STORE) as store:
        meter = _Meter(probe, store)
        return write_jsonl(out, meter.losses(weak_rows(run), lambda done: on_progress("losses", done, total)))


def weak_rows(run: Path) -> Iterator[MixRow]:
    """The rows of a run's tasks that the base did not answer right, in the order of the tasks."""
    scored = {block.task: block for block in read_blocks(run / SCORES / BLOCKS)}
    instances, parameters = InstanceStore(run / TASKS / INSTANCES), CandidateParameters()
    for selected in read_selected(run / TASKS / "tasks.jsonl"):
        block = scored.get(selected.name)
        weak = None
        if block is not None:
            scores = read_block(run / SCORES / "scores.jsonl", block)
            weak = {row.id for row in scores if not is_solved(block.kind, row.score, parameters)}
        rows = TaskRows(selected)
        for instance in instances.read(selected.block):
            if weak is None or instance.id in weak:
                yield rows.row(instance, None)


class _Meter:
    """The base and the probe as one loaded model."""

    def __init__(self, probe: Probe, store: ShardStore) -> None:
        self._model = LanguageModel.load(probe.base, precision=probe.precision)
        self._weights = Exchange(self._model)
        self._checkpoint, self._store = probe.checkpoint, store
        marks = (model_fingerprint(probe.base), model_fingerprint(probe.checkpoint), self._model.precision)
        self._revision = ":".join(marks)

    def losses(self, rows: Iterator[MixRow], on_done: Callable[[int], None]) -> Iterator[ProbeLoss]:
        done = 0
        while chunk := list(islice(rows, _CHUNK)):
            texts = [(training_prompt(row.instruction, row.input), row.output) for row in chunk]
            keys = [sha256(orjson.dumps([self._revision, *pair])) for pair in texts]
            missing = {key: pair for key, pair in zip(keys, texts, strict=True) if key not in self._store}
            if missing:
                self._store.add(dict(zip(missing, self._measured(list(missing.values())), strict=True)))
            for row, key in zip(chunk, keys, strict=True):
                before, after = self._store.value(key)
                if before is not None:
                    yield ProbeLoss(task=row.task, id=row.id, before=before, after=after)
            done += len(chunk)
            on_done(done)

    def _measured(self, texts: Sequence[tuple[str, str]]) -> list[tuple[float | None, float | None]]:
        """Both losses of each row; None where it is longer than the model's context."""
        encoded = rows_ids(self._model.tokenizer, texts)
        short = [n for n, row in enumerate(encoded) if len(row.input_ids) <= self._model.context_length]
        rows = [(encoded[n].input_ids, encoded[n].labels) for n in short]
        with self._weights.of_base():
            before = answer_losses(self._model, rows, batch_tokens=_BATCH_TOKENS)
        self._weights.use(self._checkpoint)
        after = answer_losses(self._model, rows, batch_tokens=_BATCH_TOKENS)
        found: list[tuple[float | None, float | None]] = [(None, None)] * len(texts)
        for number, (one, num), (other, _) in zip(short, before, after, strict=True):
            found[number] = (round(one / num, _DIGITS), round(other / num, _DIGITS))
        return found
