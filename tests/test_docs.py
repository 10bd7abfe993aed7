"""Checks the documentation against the program.

Every `oneday` command in `README.md` and `docs/` is parsed by the real command line without being run, and every
`make TARGET` and every link is checked. A block that shows a `--dry-run` is run and its output compared. So is a block
fenced as ```console quick, in which `…` stands for varying text and `$ cat FILE` writes the file that it shows.
"""

import contextlib
import io
import itertools
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from core.errors import OnedayError
from curation.preset import PRESETS, flat, preset, with_settings
from harness.budget.duration import seconds
from harness.budget.gpu_profile import get_gpu_profile
from oneday.cli import app, main
from oneday.cli.app import make_app
from oneday.demo.demo import DEMO_BASE
from oneday.reference import OPTIONS, WITHOUT_SET, commands, reference
from tests.curation.test_curate import DATA as NI_TASKS
from tests.oneday.own_rows import letters, write_rows

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()

DRY_RUNS = [
    pytest.param(command, output, id=f"{path.name}: {command[:60]}")
    for path in sorted(DOCS.glob("*.md"))
    for command, output in re.findall(r"```\n\$ (oneday .*)\n([\s\S]*?)```", path.read_text())
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    tags: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page=page, line=text.count("\n", 0, m.start()) + 1, tags=tuple(m[1].split()), text=m[2])
        for m in re.finditer(r"^```(.*)\n([\s\S]*?)^```$", text, re.MULTILINE)
    ]


BLOCKS = [block for page in PAGES for block in blocks(page)]
QUICK = [block for block in BLOCKS if block.tags[1:] == ("quick",)]


def commands_of(block: Block) -> Iterator[str]:
    """Yields the commands of a block: the lines after `$ `, or all lines if it has none; joins continued lines."""
    lines = block.text.replace("\\\n", " ").splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    yield from prompted or lines


def split_commands(line: str) -> Iterator[list[str]]:
    """Yields the commands of a shell line; `a && b > file &  # why` has two."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = ""  # a shell takes # for a comment only where a word begins
        tokens = list(itertools.takewhile(lambda token: not token.startswith("#"), lexer))
    except ValueError:  # an output with one quotation mark
        return
    words: list[str] = []
    for before, token in itertools.pairwise(["", *tokens, ";"]):
        if set(token) <= set("&|;"):
            yield words
            words = []
        elif not (set(token) <= set("<>&") or set(before) & set("<>") or (not words and _ASSIGNMENT.match(token))):
            words.append(token)


_ASSIGNMENT = re.compile(r"[A-Za-z_]+=")


def is_oneday(words: Sequence[str]) -> bool:
    return bool(words) and words[0].rpartition("/")[2] == "oneday"


COMMANDS = [
    pytest.param(words[1:], block in QUICK, id=f"{block.place} {' '.join(words)[:70]}")
    for block in BLOCKS
    for line in commands_of(block)
    for words in split_commands(line)
    if is_oneday(words)
]


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Parses arguments as the program does, and returns the values instead of running the command.

    Raises:
        click.UsageError: unknown command or option, a value of the wrong type, something missing.
    """
    parsed: dict[str, Any] = {}
    root = make_app()
    for _, command in (("", root), *commands(root)):
        command.callback = lambda **values: parsed.update(values)
    with contextlib.redirect_stdout(io.StringIO()):  # the output of --help
        root.main(list(arguments), prog_name="oneday", standalone_mode=False)
    return parsed


VALUES = {
    "card": get_gpu_profile,
    "preset": preset,
    "other": preset,
    "budget": seconds,
    "time": seconds,
    "fit": seconds,
    "deadline": seconds,
}
"""Options that are text for the parser, with the function that rejects a wrong value."""


def test_there_are_commands_to_parse() -> None:
    assert len(COMMANDS) > 60
    assert any("\\\n" in block.text and "oneday" in block.text for block in BLOCKS)


@pytest.mark.parametrize(("arguments", "is_run"), COMMANDS)
def test_a_command_that_is_shown_can_be_given(arguments: list[str], is_run: bool) -> None:
    for name, value in parse(arguments).items():
        checked = isinstance(value, str) and not is_run  # a block that is run may show an error
        if checked and name in VALUES and arguments[0] != "study":  # whose presets are its own
            VALUES[name](value)


@pytest.mark.parametrize(
    "wrong",
    ["curat", "train --no-such", "serve --port many", "pick", "curate score", "watch a b", "demo --retain"],
)
def test_a_command_that_does_not_exist_would_be_found(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        parse(wrong.split())


def test_a_line_of_shell_is_taken_apart() -> None:
    line = 'X=1 .venv/bin/oneday try "a # b" --raw > out && oneday serve & # oneday lost'
    assert list(split_commands(line)) == [[".venv/bin/oneday", "try", "a # b", "--raw"], ["oneday", "serve"], []]


INLINE = [
    pytest.param(span.split()[1:], id=f"{page.relative_to(ROOT)} {span[:70]}")
    for page in PAGES
    for span in sorted(
        set(re.findall(r"`(oneday [^`]+)`", re.sub(r"^```.*\n[\s\S]*?^```$", "", page.read_text(), flags=re.M)))
    )
]


@pytest.mark.parametrize("words", INLINE)
def test_a_command_named_in_a_sentence_exists_with_its_options(words: list[str]) -> None:
    known = dict(commands(app))
    if words[0].isupper() or words[0].startswith("-"):  # oneday COMMAND --help
        return
    path = max((name for name in known if f"oneday {' '.join(words)} ".startswith(f"{name} ")), key=len, default="")
    assert path, f"no command {words[0]}"
    options = {option for p in known[path].params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options


def make_arguments(page: Path) -> Iterator[list[str]]:
    """Yields the arguments of each `make` in a page's blocks and code spans."""
    text = page.read_text()
    lines = [line for block in blocks(page) for line in commands_of(block)]
    spans = re.findall(r"`(make [^`\n]+)`", text)
    for line in (*lines, *spans):
        for words in split_commands(line):
            if words[:1] == ["make"]:
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_has_every_target_and_variable_that_is_shown(page: Path) -> None:
    targets = set(" ".join(re.findall(r"^([a-z0-9 -]+):", MAKEFILE, re.MULTILINE)).split())
    for word in (word for words in make_arguments(page) for word in words):
        name, is_variable, _ = word.partition("=")
        if is_variable:
            assert re.search(rf"^{name} *\??=|\$\({name}\)|\$\(if \$\({name}\)", MAKEFILE, re.MULTILINE), word
        elif word != "TARGET":
            assert word in targets, f"make {word}"


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*\n[\s\S]*?^```$", "", page.read_text(), flags=re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*\n[\s\S]*?^```$", "", page.read_text(), flags=re.M))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    for page in DOCS.rglob("*.md"):
        assert page.name == "README.md" or f"({page.relative_to(DOCS)})" in index, page.name


def test_the_tree_of_the_contributors_page_is_the_tree() -> None:
    (tree,) = [block for block in blocks(DOCS / "contributing.md") if block.tags == ("tree",)]
    shown = {line.split()[0].rstrip("/") for line in tree.text.splitlines()}
    assert all((ROOT / name).exists() for name in shown)
    packages = {path.parent for path in ROOT.glob("*/__init__.py")}
    assert {str(path.relative_to(ROOT)) for path in packages} <= shown


def test_the_reference_is_what_the_code_says() -> None:
    assert (DOCS / "reference.md").read_text() == reference(), "run `make reference`"


def test_the_reference_knows_what_set_reaches() -> None:
    known = dict(commands(app))["oneday curate"]
    assert set(OPTIONS.values()) <= {option for p in known.params for option in p.opts}
    for key in flat(PRESETS["recommended"]):
        group, _, name = key.partition(".")
        if name:
            with pytest.raises(OnedayError) as e:
                with_settings(PRESETS["recommended"], {key: "[[]]"})
            assert ("no such choice" in str(e.value)) == (group in WITHOUT_SET), key


def test_there_are_outputs_to_compare() -> None:
    assert len(DRY_RUNS) >= 7
    assert len(QUICK) >= 5


@pytest.mark.parametrize(("command", "output"), DRY_RUNS)
def test_a_command_prints_what_the_documentation_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, output: str
) -> None:
    assert "--dry-run" in command  # only these are quick and the same everywhere
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("oneday.commands.training.dry_run.has_flash_attn", lambda: False)
    monkeypatch.setattr("harness.recipe.has_flash_attn", lambda: False)
    with pytest.raises(SystemExit) as e:
        main(shlex.split(command)[1:])
    assert e.value.code == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == output.splitlines()


OWN_DATA_COMMANDS = [
    pytest.param(words[1:], id=f"{block.place} {' '.join(words)[:70]}")
    for block in BLOCKS
    if block not in QUICK
    for line in commands_of(block)
    for words in split_commands(line)
    if is_oneday(words) and words[1] == "curate" and any("mine.jsonl" in word for word in words)
]


@pytest.mark.slow
@pytest.mark.parametrize("words", OWN_DATA_COMMANDS)
def test_a_command_for_rows_of_ones_own_works_as_printed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "mine.jsonl", letters(20))
    for name, there in (("models/Mistral-7B-v0.1", DEMO_BASE), ("natural-instructions/tasks", NI_TASKS)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).symlink_to(there)
    monkeypatch.setenv("BASE_MODEL", "models/Mistral-7B-v0.1")
    with pytest.raises(SystemExit) as e:
        main([os.path.expandvars(word) for word in words])
    said = capsys.readouterr().err
    assert e.value.code == 0, said
    assert "--scale" not in said


def test_there_are_commands_for_rows_of_ones_own() -> None:
    assert len(OWN_DATA_COMMANDS) >= 7


def steps(block: Block) -> list[tuple[str, str]]:
    """Returns the pairs of command and output of a quick block."""
    parts = re.split(r"^\$ ", block.text.replace("\\\n", " "), flags=re.MULTILINE)
    assert not parts[0], f"{block.place}: begin with `$ `"
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts[1:])]


def pattern(shown: str) -> str:
    """Returns a regular expression in which `…` alone on a line matches any lines, and within a line any text."""
    lines = normalise_width(shown).splitlines()
    return "".join(
        r"(?:.*\n)*" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n" for line in lines
    )


def normalise_width(screen: str) -> str:
    """Reduces runs of spaces and rules to one character, because columns grow with their content."""
    lines = [re.sub(r" +", " ", re.sub(r"─+", "─", line)).rstrip() for line in screen.splitlines()]
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("block", QUICK, ids=lambda block: block.place)
def test_a_quick_block_shows_what_happens(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("oneday", "axolotl_configs", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    for command, shown in steps(block):
        (words,) = split_commands(command)
        if words[0] == "cat":
            Path(words[1]).write_text(shown)
            continue
        assert is_oneday(words), command
        screen = io.StringIO()
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen), pytest.raises(SystemExit) as e:
            main(words[1:])
        assert e.value.code == (2 if "\nerror: " in f"\n{shown}" else 0), screen.getvalue()
        assert re.fullmatch(pattern(shown), normalise_width(screen.getvalue())), f"{command}\n{screen.getvalue()}"
