"""The losses of rows before and after a probe training."""

from pathlib import Path

import pytest

from core.example.prompt import training_prompt
from core.files import read_jsonl
from core.generation.answer_loss import answer_losses
from core.model.language_model import LanguageModel
from core.model.token_ids import rows_ids
from curation.curate import curate
from curation.policies.learnable import read_probe_losses
from studies import probe as probing
from studies.probe import Probe, weak_rows, write_probe_losses
from tests.curation.test_curate import curation
from tests.harness.checkpoint.adapters import write_adapters


def test_rows_that_the_base_got_wrong_are_measured_under_base_and_probe_and_only_once(
    tmp_path: Path, demo_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = curate(curation(tmp_path)).parent
    [adapter] = write_adapters(tmp_path / "adapters", demo_base, {"checkpoint-1": 0.3})
    probe, out = Probe(base=demo_base, checkpoint=adapter, precision=None), tmp_path / "losses.jsonl"
    rows = list(weak_rows(run))
    assert write_probe_losses(run, probe, out) == len(rows)
    scores = {(row["task"], row["id"]): row["score"] for row in read_jsonl(run / "03_scores" / "scores.jsonl")}
    assert all(scores[row.task, row.id] < 1 for row in rows)
    found = list(read_probe_losses(out))
    assert [(loss.task, loss.id) for loss in found] == [(row.task, row.id) for row in rows]

    model = LanguageModel.load(demo_base)
    texts = [(training_prompt(row.instruction, row.input), row.output) for row in rows[:3]]
    encoded = [(ids.input_ids, ids.labels) for ids in rows_ids(model.tokenizer, texts)]
    before = [total / num for total, num in answer_losses(model, encoded)]
    model.load_adapter(adapter)
    after = [total / num for total, num in answer_losses(model, encoded)]
    assert [loss.before for loss in found[:3]] == pytest.approx(before, abs=1e-4)
    assert [loss.after for loss in found[:3]] == pytest.approx(after, abs=1e-4)
    assert before != pytest.approx(after, abs=1e-3)

    written = out.read_bytes()
    monkeypatch.setattr(probing, "answer_losses", lambda *rows, **given: pytest.fail("measured again"))
    write_probe_losses(run, probe, out)
    assert out.read_bytes() == written
