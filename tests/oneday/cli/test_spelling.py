"""What a message of a package says, and what the user of a command reads."""

import pytest

from oneday.cli.app import app
from oneday.cli.spelling import spelled
from oneday.requests.curation import CurateRequest
from oneday.requests.looking import CompareRequest
from oneday.requests.request import Request
from oneday.requests.submission import ExportRequest
from oneday.requests.training import TrainRequest

assert app  # all requests are known


@pytest.mark.parametrize(
    ("request_type", "text", "shown"),
    [
        (TrainRequest, "Restore it, or pass `redo=true`.", "Restore it, or pass --redo."),
        (TrainRequest, "`rehearsal=false` measures nothing", "--no-rehearsal measures nothing"),
        (ExportRequest, "or pass `check=false`.", "or pass --no-check."),
        (CurateRequest, "`scale=5`: not in (0, 1]. `scale=1` is", "--scale 5: not in (0, 1]. --scale 1 is"),
        (CurateRequest, "`source=lima=a b.jsonl`: no such file.", "--source lima=a b.jsonl: no such file."),
        (CurateRequest, "Add `policies.max_tokens=none`.", "Add --set policies.max_tokens=none."),
        (CurateRequest, "`samples.retain_share=2`: not in [0, 1).", "--retain 2: not in [0, 1)."),
        (CurateRequest, "Give more with `tasks=`, please", "Give more with --tasks, please"),
        (TrainRequest, "Give another `run=`.", "Give another --run."),
        (CompareRequest, "Give another `run=`.", "Give another RUN."),
        (CompareRequest, "Curate with `take_all=true`", "Curate with --take-all"),
        (None, "Pass `base=FOLDER`.", "Pass --base FOLDER."),
    ],
)  # fmt: skip
def test_a_field_is_shown_as_its_option(request_type: type[Request] | None, text: str, shown: str) -> None:
    assert spelled(text, request_type) == shown


@pytest.mark.parametrize(
    "text",
    [
        "plain", "`input` is not text", "`hf auth login`", "lines of `task kind`", "`colour=red` is one", "`Redo=1`",
        "`redo",
    ],
)  # fmt: skip
def test_what_is_no_field_stays_as_it_is(text: str) -> None:
    assert spelled(text, CurateRequest) == text
