"""Signals beside the answers, the policies that use them, and the cap on a task's tokens."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import MixError, PredictionError
from core.files import read_json, read_jsonl, write_jsonl
from core.generation.replay import ReplayPredictor
from core.generation.request import Request
from core.generation.signals import Signals
from curation.candidate import Candidate
from curation.curate import curate
from curation.policies.learnable import ProbeLoss, unlearnable
from curation.policies.policy import PolicyParameters
from curation.policies.task_tokens import capped
from curation.sample import Control, SampleParameters
from tests.curation.test_curate import Oracle, curation, rows


class Measuring(Oracle):
    """Tells losses by the number in the id: every third row has an IFD of 1.5. It may fail after some shards."""

    def __init__(self, shards: int | None = None) -> None:
        super().__init__()
        self.measured: list[str] = []
        self._shards = shards

    def signals(self, requests: Sequence[Request]) -> list[Signals | None]:
        if self._shards is not None:
            self._shards -= 1
            if self._shards < 0:
                raise PredictionError("the power is gone. Wait.")
        self.measured += [r.id for r in requests]
        return [
            Signals(num_tokens=2, loss=3.0 if int(r.id.split("-")[1]) % 3 == 0 else 1.0, loss_alone=2.0)
            for r in requests
        ]


KEEP = PolicyParameters(max_tokens=None)


def stage_bytes(run: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*.jsonl")) if p.parent.name.startswith("0")
    }


def test_signals_are_stored_beside_the_answers_measured_once_and_replayed_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.generation.signals.SHARD_SIZE", 4)
    policies = PolicyParameters(max_tokens=None, max_ifd=1.0)
    broken, whole = Measuring(shards=2), Measuring()
    with pytest.raises(PredictionError, match="power"):
        curate(curation(tmp_path, predictor=broken, signals=True, policies=policies))
    mix = curate(curation(tmp_path, predictor=whole, signals=True, policies=policies))
    run = mix.parent
    assert len(broken.measured) == 8
    assert not set(broken.measured) & set(whole.measured)
    at_once = curate(curation(tmp_path, name="once", predictor=Measuring(), signals=True, policies=policies))
    assert stage_bytes(run) == stage_bytes(at_once.parent)

    predictions = list(read_jsonl(run / "02_predictions" / "predictions.jsonl"))
    assert predictions[0]["signals"] == {"num_tokens": 2, "loss": 3.0, "loss_alone": 2.0}
    details = read_json(run / "02_predictions" / "summary.json")["details"]["signals"]
    assert details["num_measured"] == len(predictions)
    assert details["num_misled"] == sum(p["signals"]["loss"] == 3.0 for p in predictions)
    assert read_json(mix / "manifest.json")["parameters"]["signals"] is True

    dropped = [row for row in read_jsonl(run / "04_samples" / "dropped.jsonl") if row["reason"] == "high_ifd"]
    assert dropped[0]["detail"] == "IFD 1.500: loss 3.000 behind the prompt, 2.000 without it"
    assert all(int(row["id"].split("-")[1]) % 3 == 0 for row in dropped)
    assert rows(mix)
    assert not [row for row in rows(mix) if int(row["id"].split("-")[1]) % 3 == 0]

    replay = ReplayPredictor([run / "02_predictions" / "predictions.jsonl"])
    again = curate(curation(tmp_path, name="again", predictor=replay, signals=True, policies=policies))
    assert (again / "train.jsonl").read_bytes() == (mix / "train.jsonl").read_bytes()
    assert not (again.parent / "signals.jsonl").exists()


def test_without_signals_nothing_is_measured_or_written(tmp_path: Path) -> None:
    predictor = Measuring()
    run = curate(curation(tmp_path, predictor=predictor)).parent
    assert predictor.measured == []
    assert not (run / "signals.jsonl").exists()
    assert "signals" not in read_json(run / "02_predictions" / "inputs.json")
    assert all("signals" not in row for row in read_jsonl(run / "02_predictions" / "predictions.jsonl"))
    replay = ReplayPredictor([run / "02_predictions" / "predictions.jsonl"])
    with pytest.raises(PredictionError, match="no stored prediction holds signals"):
        curate(curation(tmp_path, name="again", predictor=replay, signals=True))


def test_what_cannot_be_measured_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="does not tell the loss"):
        curation(tmp_path, predictor=Oracle(), signals=True)
    with pytest.raises(MixError, match="is not measured"):
        curation(tmp_path, policies=PolicyParameters(max_ifd=1.0))
    with pytest.raises(MixError, match="the base is not asked"):
        curation(tmp_path, signals=True, samples=SampleParameters(control=Control.RANDOM))
    with pytest.raises(MixError, match="counts tokens"):
        curation(tmp_path, samples=SampleParameters(task_tokens=5))


def test_rows_that_stay_hard_after_a_probe_are_dropped_with_both_losses(tmp_path: Path) -> None:
    as_is = curate(curation(tmp_path))
    by_row = {(row["task"], row["id"]): 1.0 for row in rows(as_is)}
    hard, learnt, forgotten = list(by_row)[:3]
    losses = [{"task": t, "id": i, "before": 1.0, "after": 0.5} for t, i in by_row]
    changed = {hard: (6.0, 5.0), learnt: (6.5, 0.4), forgotten: (0.9, 5.5)}
    for row in losses:
        row["before"], row["after"] = changed.get((row["task"], row["id"]), (row["before"], row["after"]))
    path = tmp_path / "losses.jsonl"
    write_jsonl(path, losses)
    mix = curate(curation(tmp_path, name="probed", probe_losses=path, policies=replace(KEEP, hard_share=0.3)))
    dropped = [row for row in read_jsonl(mix.parent / "04_samples" / "dropped.jsonl") if row["reason"] == "unlearnable"]
    assert [(row["source"], row["id"], row["detail"]) for row in dropped] == [
        (*hard, "loss 6.000 before the probe, 5.000 after it")
    ]
    kept = {(row["task"], row["id"]) for row in rows(mix)}
    assert hard not in kept
    assert {learnt, forgotten} <= kept | {
        (r["source"], r["id"]) for r in read_jsonl(mix.parent / "04_samples" / "dropped.jsonl")
    }
    probe = read_json(mix.parent / "04_samples" / "summary.json")["details"]["probe"]
    assert probe == {"num_probed": len(losses), "num_hard": 1, "high_before": 1.0, "high_after": 0.5}
    assert "probe_losses" in read_json(mix / "manifest.json")["inputs"]["04_samples"]
    assert "probe_losses" not in read_json(as_is / "manifest.json")["inputs"]["04_samples"]


def test_equal_losses_make_no_row_hard() -> None:
    losses = [ProbeLoss(task="a", id=str(n), before=2.0, after=2.0) for n in range(10)]
    assert not unlearnable(losses, share=0.5).rows
    losses[3] = ProbeLoss(task="a", id="3", before=2.5, after=2.1)
    assert list(unlearnable(losses, share=0.5).rows) == [("a", "3")]


def candidate(task: str, number: int, tokens: int, **given: Any) -> Candidate:
    fields: dict[str, Any] = {"source": "ni_generation", "kind": None, "bucket": 0, "solved": False, **given}
    return Candidate(task=task, id=f"{task}-{number}", exact=b"", num_tokens=tokens, **fields)


def test_no_ni_task_gives_more_tokens_than_its_cap_and_weak_rows_go_first() -> None:
    long = [candidate("long", n, 100) for n in range(10)]
    short = [candidate("short", n, 10) for n in range(10)]
    solved = [candidate("mixed", n, 30, solved=n % 2 == 0) for n in range(10)]
    own = [candidate("own", n, 1_000, source="mine") for n in range(3)]
    given = [*own, *long, *short, *solved]
    within, beyond = capped(given, 250, seed=1)
    tokens = Counter[str]()
    for c in within:
        tokens[c.task] += c.num_tokens
    assert tokens == {"own": 3_000, "long": 200, "short": 100, "mixed": 240}
    assert sum(c.solved for c in within if c.task == "mixed") == 3  # all five weak ones, and what still fits
    assert sorted(within + beyond, key=given.index) == given
    assert capped(given, 250, seed=1) == (within, beyond)
    assert capped(list(reversed(given)), 250, seed=1)[0] == list(reversed(within))
    assert capped(given, 250, seed=2) != (within, beyond)


def test_tokens_beyond_the_cap_of_a_task_are_dropped_and_other_tasks_fill_the_quota(
    tmp_path: Path, demo_base: Path
) -> None:
    tokenizer = demo_base / "tokenizer.json"
    as_is = curate(curation(tmp_path, tokenizer=tokenizer))
    samples = SampleParameters(task_tokens=150)
    mix = curate(curation(tmp_path, name="capped", tokenizer=tokenizer, samples=samples))
    tokens = Counter[str]()
    for row in rows(mix):
        tokens[row["task"]] += row["num_tokens"]
    assert max(tokens.values()) <= 150
    assert max(Counter(row["task"] for row in rows(as_is)).values()) * 30 > 150
    dropped = list(read_jsonl(mix.parent / "04_samples" / "dropped.jsonl"))
    beyond = [row for row in dropped if row["reason"] == "over_task_tokens"]
    assert beyond
    assert beyond[0]["detail"].endswith(" tokens")
