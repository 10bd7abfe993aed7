"""The stream between trainer and supervisor: what is emitted is what is read, and what is no event is named."""

import json
import math
from pathlib import Path
from typing import get_args

import pytest

from core.files import cut_torn_line
from harness.errors import DataError
from harness.inside import events as module
from harness.inside.batch_log import StepRecord, read_batches
from harness.inside.events import (
    BaseLoss,
    CheckpointTest,
    DiskFull,
    Evaluation,
    EvaluationHalved,
    EventReader,
    Events,
    Heartbeat,
    Isolation,
    Kernels,
    NotFinite,
    Phase,
    PluginAlive,
    PluginRegistered,
    Save,
    Stamp,
    Step,
    Stopping,
    TrackerFailed,
    TrainBegin,
    TrainEnd,
    TrainerEvent,
    now,
)

AT: Stamp = {"t": 5.0, "up": 4.0, "pid": 3}
EVERY: list[TrainerEvent] = [
    PluginRegistered(**AT),
    PluginAlive(**AT, attn_implementation="sdpa", memory_capped_gib=23.1),
    TrackerFailed(**AT, tracker="WandbCallback", why="no network"),
    Isolation(**AT, moved=0.0, spread=0.2),
    Kernels(**AT, paths={"attention": ["sdpa"], "loss": []}),
    CheckpointTest(**AT, failed=None),
    TrainBegin(**AT, step=0, max_steps=9),
    Phase(**AT, phase="save"),
    Heartbeat(**AT),
    Step(**AT, step=1, loss=0.5, learning_rate=1e-4, grad_norm=0.1, tokens=7, horizon=9, memory_gib=1.5),
    BaseLoss(**AT, validation_loss=2.0, seconds=0.1),
    Evaluation(**AT, step=1, validation_loss=1.0, answer_tokens=12, seconds=0.1),
    EvaluationHalved(**AT, step=1),
    Save(**AT, step=1, seconds=0.1, deleted=["checkpoint-1"], reserve_s=2.0),
    DiskFull(**AT, step=1, seconds=0.1),
    NotFinite(**AT, step=1, loss=math.inf),
    Stopping(**AT, step=1, because="deadline"),
    TrainEnd(**AT, step=1, because="plan", step_s=1.0, eval_s=1.0, save_s=1.0, peak_by_phase_gib={"load": 1.0}),
]
"""One of each kind."""


def written(path: Path, *events: TrainerEvent) -> Path:
    log = Events(path)
    for event in events:
        log.emit(event)
    return path


def read(path: Path) -> list[TrainerEvent]:
    return list(EventReader(path, from_start=True).read())


def test_every_kind_is_read_as_it_was_emitted(tmp_path: Path) -> None:
    assert {type(event) for event in EVERY} == set(get_args(TrainerEvent))
    path = written(tmp_path / "metrics.jsonl", *EVERY)
    found = read(path)
    assert [type(event) for event in found] == [type(event) for event in EVERY]
    assert [event for event in found if not isinstance(event, Save | DiskFull)] == [
        event for event in EVERY if not isinstance(event, Save | DiskFull)
    ]
    assert [list(e.deleted) for e in found if isinstance(e, Save | DiskFull)] == [["checkpoint-1"], []]


def test_a_line_begins_with_the_kind_and_holds_plain_json(tmp_path: Path) -> None:
    path = written(tmp_path / "metrics.jsonl", NotFinite(**AT, step=1, loss=math.nan))
    assert path.read_text() == '{"event": "not_finite", "t": 5.0, "up": 4.0, "pid": 3, "step": 1, "loss": "nan"}\n'
    (event,) = read(path)
    assert isinstance(event, NotFinite)
    assert math.isnan(event.loss)


def test_an_event_of_this_moment_says_when_and_who() -> None:
    event = Heartbeat(**now())
    assert event.pid > 0
    assert 0 < event.up < event.t


def test_a_reader_gets_what_is_new_and_leaves_a_line_that_is_half_written(tmp_path: Path) -> None:
    path = written(tmp_path / "metrics.jsonl", PluginRegistered(**AT))
    late, whole = EventReader(path), EventReader(path, from_start=True)
    assert list(late.read()) == []
    written(path, Heartbeat(**AT))
    with path.open("a") as file:
        file.write('{"event": "beat", "t"')
        file.flush()
        assert list(late.read()) == [Heartbeat(**AT)]
        file.write(': 6, "up": 5}\n')
        file.flush()
        assert list(late.read()) == [Heartbeat(t=6.0, up=5.0)]
    assert list(whole.read()) == [PluginRegistered(**AT), Heartbeat(**AT), Heartbeat(t=6.0, up=5.0)]
    assert list(whole.read()) == []


def test_a_kind_of_a_newer_version_is_skipped_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "metrics.jsonl", PluginRegistered(**AT))
    with path.open("a") as file:
        file.write('{"event": "dreamt", "t": 1, "up": 1, "of": "sheep"}\n' * 2)
    written(path, Heartbeat(**AT))
    reader = EventReader(path, from_start=True)
    assert list(reader.read()) == [PluginRegistered(**AT), Heartbeat(**AT)]
    assert reader.unknown == {"dreamt": 2}


def test_a_field_of_a_newer_version_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "beat", "t": 1, "up": 2, "pid": 3, "mood": "good"}\n')
    assert read(path) == [Heartbeat(t=1.0, up=2.0, pid=3)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "Invalid JSON"),
        ("[]", "Input should be"),
        ("{}", "Unable to extract tag"),
        ('{"event": "step", "t": 1, "up": 1, "step": 1}', r"step\.loss: Field required"),
        ('{"event": "beat", "up": 1}', r"beat\.t: Field required"),
        ('{"event": "beat", "t": "nan", "up": 1}', r"beat\.t: Input should be a finite number"),
        (
            '{"event": "train_begin", "t": 1, "up": 1, "step": "x"}',
            r"train_begin\.step: Input should be a valid integer",
        ),
        ('{"event": "phase", "t": 1, "up": 1, "phase": "sleep"}', r"phase\.phase: Input should be"),
    ],
)
def test_a_line_that_is_no_event_is_an_error_with_file_and_line(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path / "metrics.jsonl", PluginRegistered(**AT), Heartbeat(**AT))
    from_start, late = EventReader(path, from_start=True), EventReader(path)
    with path.open("a") as file:
        file.write(line + "\n")
    for reader in (from_start, late):
        with pytest.raises(DataError, match=rf"metrics\.jsonl:3: not an event \(.*{said}.*Remove the line") as e:
            list(reader.read())
        assert "\n" not in str(e.value)


def test_the_supervisors_own_events_are_not_read_from_a_file(tmp_path: Path) -> None:
    for kind in (module.Tick, module.Restart):
        assert kind not in get_args(TrainerEvent)


def test_what_a_power_cut_leaves_is_removed_before_more_is_appended(tmp_path: Path) -> None:
    path = written(tmp_path / "metrics.jsonl", PluginRegistered(**AT))
    with path.open("a") as file:
        file.write('{"event": "st')
    cut_torn_line(path)
    written(path, Heartbeat(**AT))
    assert read(path) == [PluginRegistered(**AT), Heartbeat(**AT)]
    before = path.read_bytes()
    cut_torn_line(path)
    cut_torn_line(tmp_path / "none.jsonl")
    assert path.read_bytes() == before


def test_the_last_line_of_a_step_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "batches.jsonl"
    rows = [
        {"step": 1, "batch": "a", "lr": 0.1, "loss": 2.0},
        {"step": 2, "batch": "b", "lr": 0.2, "loss": "nan"},
        {"step": 1, "batch": "a", "lr": 0.1, "loss": 1.0},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 2, "ba')
    found = read_batches(path)
    assert found[1] == StepRecord(step=1, batch="a", lr=0.1, loss=1.0)
    assert math.isnan(found[2].loss)
    assert list(found) == [1, 2]
    assert read_batches(tmp_path / "none.jsonl") == {}
    path.write_text('{"step": 1}\n')
    with pytest.raises(DataError, match=r"batches\.jsonl: record 1 lacks step, batch, lr or loss"):
        read_batches(path)
