"""Commands made from requests: what is parsed, what is refused, what help and completion show."""

import ast
import inspect
import subprocess
import sys
from dataclasses import MISSING
from functools import cache
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneday.cli import main
from oneday.cli.app import BUILD, COMMANDS, CURATE, app
from oneday.cli.command import Entry, request_command
from oneday.cli.completion import install
from oneday.reference import commands
from oneday.requests.curation import CurateRequest
from oneday.requests.request import Request, RequestField, arguments, request_fields
from oneday.requests.training import TrainRequest

ENTRIES = [*COMMANDS, *CURATE.commands, *BUILD.commands]
BY_NAME = {entry.name: entry for entry in ENTRIES}


@cache
def command_of(name: str) -> click.Command:
    return request_command(BY_NAME[name])


def parsed(entry: Entry, words: list[str]) -> Request:
    """The request that the command line makes of words."""
    with command_of(entry.name).make_context(entry.name, list(words)) as context:
        return entry.request(**context.params)


def some(f: RequestField) -> st.SearchStrategy[Any]:
    """Values that a field may have."""
    texts = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=8)
    if f.values:
        one: st.SearchStrategy[Any] = st.sampled_from(f.values)
    elif f.kind is bool:
        return st.booleans()
    elif f.kind is Path:
        one = texts.map(Path)
    elif f.kind is str:
        one = texts
    else:
        low, high = f.option.low, f.option.high
        whole = st.integers(int(low or 0), int(high or 1_000))
        one = whole if f.kind is int else whole.map(float).filter(lambda x: x >= (low or 0))
    if f.num_values == -1:
        return st.lists(one, min_size=f.is_required, max_size=3).map(tuple)
    if f.num_values > 1:
        return st.none() | st.tuples(*[one] * f.num_values)
    return one if f.is_required or f.default is not None else st.none() | one


@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_typed_for_a_request_gives_it_back(name: str) -> None:
    entry = BY_NAME[name]
    requests = st.builds(entry.request, **{f.name: some(f) for f in request_fields(entry.request)})

    @settings(max_examples=40)  # each draws a value for every field
    @given(requests)
    def typed(request: Request) -> None:
        assert parsed(entry, arguments(request)) == request

    typed()


@pytest.mark.parametrize("name", [entry.name for entry in ENTRIES])
def test_every_option_has_a_text_and_a_type(name: str) -> None:
    for f in request_fields(BY_NAME[name].request):
        assert f.text, f.name
        assert f.kind in (bool, int, float, str, Path), f.name
        assert f.default is MISSING or f.kind is not bool or isinstance(f.default, bool)


@pytest.mark.parametrize(("path", "command"), list(commands(app)), ids=[path for path, _ in commands(app)])
def test_help_shows_few_options_and_points_to_the_rest(
    path: str, command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(option: str) -> tuple[str, set[str]]:
        with pytest.raises(SystemExit) as e:
            main([*path.split()[1:], option])
        assert e.value.code == 0
        text = capsys.readouterr().out
        return text, {word for line in text.splitlines() for word in line.split()[:1] if word.startswith("--")}

    text, few = shown("--help")
    everything = {p.opts[0] for p in command.params if isinstance(p, click.Option) and not p.hidden}
    assert len(few) <= 16
    assert shown("--help-all")[1] | {"--help-all"} >= everything
    assert f"{path} --help-all shows" in text or few >= everything


def test_panels_stand_in_the_order_of_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["curate", "--help"])
    headings = [
        line for line in capsys.readouterr().out.splitlines() if line.endswith(":") and not line.startswith(" ")
    ]
    assert headings == ["Data:", "Base model:", "Mix:", "General:", "Commands:"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["curate", "--check", "mine.jsonl"], "--check is a command now: oneday check mine.jsonl."),
        (["curate", "--verify", "runs/a"], "--verify is a command now: oneday verify runs/a."),
        (["curate", "--diff", "birbal-paper"], "oneday curate diff birbal-paper, with the same options."),
        (["curate", "--tasks", "a", "--stability"], "oneday curate stability, with the same options."),
        (["curate", "--seed", "3", "diff", "birbal-paper"], "--seed stands behind the command: oneday curate diff"),
        (["train", "--clock", "soft"], "--clock soft: unknown. Use strict or compute."),
        (["train", "--average", "101"], "101 is not in the range 0<=x<=100"),
        (["trian"], "Did you mean 'train'?"),
        (["train", "--bugdet", "3h"], "'--budget'"),
        (["check"], "Missing argument 'FILES...'"),
        (["train", "--mix"], "Option '--mix' requires an argument"),
        (["report", "--compare", "a"], "Option '--compare' requires 2 arguments"),
        (["pick", "a", "--seed", "-1", "--average", "-1"], "-1 is not in the range 0<=x<=100"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        main(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert e.value.code == 2
    assert line.startswith("error: ")
    assert told in line


def test_values_are_completed_from_the_set_that_checks_them() -> None:
    def completed(name: str, option: str, incomplete: str) -> list[str]:
        command = request_command(BY_NAME[name])
        (param,) = [p for p in command.params if option in p.opts]
        return [item.value for item in param.type.shell_complete(click.Context(command), param, incomplete)]

    assert completed("train", "--clock", "") == ["strict", "compute"]
    assert completed("train", "--card", "a") == ["a100-40gb", "a100-80gb"]
    assert completed("curate", "--licences", "k") == ["known"]
    assert completed("export", "--merge", "") == ["fp32", "bf16"]


def test_completion_is_installed_once(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("alias ll='ls -l'\n")
    for _ in range(2):
        path = install("bash", "complete it", home=tmp_path)
    assert path.read_text() == "complete it"
    assert (tmp_path / ".bashrc").read_text() == f"alias ll='ls -l'\nsource {path}\n"
    assert install("fish", "it", home=tmp_path) == tmp_path / ".config/fish/completions/oneday.fish"


def test_a_request_is_checked_by_its_own_type() -> None:
    assert {f.flag for f in request_fields(CurateRequest)} >= {"--retain", "--own-share", "--set", "--json"}
    clock = next(f for f in request_fields(TrainRequest) if f.name == "clock")
    assert (clock.values, clock.default, clock.option.is_rare) == (("strict", "compute"), "strict", True)
    with pytest.raises(TypeError):
        TrainRequest(no_such_field=1)  # type: ignore[call-arg]


def test_a_closed_set_that_is_written_out_is_that_of_the_package() -> None:
    """A Literal where importing the package would be slow."""
    from core.model.merge import Dtype
    from curation.preset import PRESETS
    from harness.ledger.day import Charging
    from submission.score.score import Rule

    values = {(entry.name, f.name): f.values for entry in ENTRIES for f in request_fields(entry.request)}
    assert values["curate", "preset"] == values["diff", "other"] == tuple(PRESETS)
    assert values["train", "clock"] == tuple(Charging)
    assert values["score", "rule"] == tuple(Rule)
    assert values["export", "merge"] == get_args(Dtype)


def test_help_of_every_command_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom oneday.cli import app\n"
        "for name in app.commands:\n    app([name, '--help-all'], standalone_mode=False)\n"
        "heavy = ('torch', 'transformers', 'datasets', 'sklearn', 'fastapi', 'plotly')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_option_is_declared_in_one_place() -> None:
    """Its name stands in the request's class alone; the command line, its help and the reference read it there."""
    root = Path(inspect.getfile(main)).parents[2]
    places = []
    for path in sorted((root / "oneday").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "own_share":
                places.append(path.relative_to(root).as_posix())
    assert places == ["oneday/requests/curation.py"]
