"""`responses.jsonl`: recorded or generated responses, the manifest beside them, and readers of the forms people have.

    write_responses(path, rows, suite_sha256=suite.fingerprint(), settings={"max_new_tokens": 1280})
    responses = read_responses(path)

Four forms are read, each with `.gz` or without: the contract's own lines, `{task, id, response}` lines,
`{key, prompt, response}` or `{prompt, response}` lines (IFEval), and one document `{name, results: {task: [{id,
response}]}}` (TC-Eval).

Where it sits: **responses** -> suite -> join -> scoring.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from core.example.example import one_message
from core.example.prompt import training_prompt
from core.files import encodable, file_sha256, read_as, write_json, write_jsonl
from evaluation.errors import EvaluationError

MANIFEST_SUFFIX = ".manifest.json"
"""Appended to the name of the responses file."""

MAX_RESPONSE_CHARACTERS = 1_000_000
"""A longer text is no answer of a model: 131,072 tokens are about half of it. Patterns over more would take minutes."""

Messages = Sequence[Mapping[str, str]]
"""Each with `role` and `content`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """A prompt in two parts: the Alpaca prompt makes one text of them, and a chat one message."""

    instruction: str
    input: str = ""

    @property
    def text(self) -> str:
        """As in a training row, and as it is recorded."""
        return training_prompt(self.instruction, self.input)

    @property
    def message(self) -> str:
        """As in a training row that is a chat."""
        return one_message(self.instruction, self.input)


Prompt = str | Instruction | Messages


def recorded_prompt(prompt: Prompt) -> str | Messages:
    """As files hold it."""
    return prompt.text if isinstance(prompt, Instruction) else prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One line of the contract. Fields that a recorded form lacks are None."""

    id: str | None
    """The item's id in its suite. None: the row is joined by its prompt."""
    suite: str | None
    """`ifeval`, `tmmlu/SUBJECT`, ...; in a recorded form the name of the task. None: an IFEval line without a name."""
    text: str
    """The response without special tokens. May be empty. The file's key is `response`."""
    language: str | None = None
    """Of the prompt, BCP 47."""
    expected_language: str | None = None
    """Of the answer; equals `language` except for the modifier that asks for another one."""
    prompt: str | Messages | None = None
    """As asked, before the template."""
    prompt_sha256: str | None = None
    """Of the rendered text that the model received."""
    finish: Literal["stop", "length"] | None = None
    tokens: int | None = None
    generation: Mapping[str, object] = field(default_factory=dict)
    """Engine, template, `max_new_tokens`, `temperature`, ...: a document of the border, copied and compared only."""
    checkpoint: Mapping[str, object] = field(default_factory=dict)
    """Name, hashes, recipe, arm and stage of the model; for recorded responses its name alone."""
    recorded: bool = False
    """Read from a recorded form: its prompt may be an older wording of the item's."""
    line: int = 0
    """Where it stands in its file, from 1; 0 if it was not read from one."""

    def as_row(self) -> dict[str, object]:
        """As the contract writes it."""
        row = {"response" if name == "text" else name: value for name, value in asdict(self).items()}
        return {name: value for name, value in row.items() if name not in ("recorded", "line")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseManifest:
    """What stands beside a responses file and must still be true when it is scored."""

    num_responses: int
    sha256: str
    """Of the responses file."""
    suite_sha256: str
    """`Suite.fingerprint()` of the questions that were asked."""
    settings: dict[str, object]
    """Everything that decided the responses: model, generation, seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFile:
    """All rows of one file, in its order."""

    path: Path
    name: str
    """The model's name where the file has one, else the file's name."""
    sha256: str
    rows: tuple[Response, ...]
    manifest: ResponseManifest | None
    """None: a recorded file that has none."""


def manifest_path(path: Path) -> Path:
    """Of the manifest that belongs to a responses file."""
    return path.with_name(path.name + MANIFEST_SUFFIX)


def write_responses(
    path: Path, rows: Iterable[Response], *, suite_sha256: str, settings: Mapping[str, object]
) -> ResponseManifest:
    """Writes `responses.jsonl` and the manifest beside it; the manifest comes last, so that it is never ahead.

    Raises:
        EvaluationError: a row lacks its id, suite or language, which the contract requires.
    """
    num = write_jsonl(path, (_complete(row).as_row() for row in rows))
    manifest = ResponseManifest(
        num_responses=num, sha256=file_sha256(path), suite_sha256=suite_sha256, settings=dict(settings)
    )
    write_json(manifest_path(path), manifest)
    return manifest


def _complete(row: Response) -> Response:
    for name in ("id", "suite", "language"):
        if getattr(row, name) is None:
            raise EvaluationError(f"a response without {name} (id {row.id}): the contract requires it. Set it.")
    return row


def read_responses(path: Path) -> ResponseFile:
    """Reads any of the four forms; which one is told by the keys of each row.

    Raises:
        EvaluationError: unreadable, empty, a row of no known form, a response that is no text or too long, or the file
            is not the one that its manifest describes.
    """
    manifest = _read_manifest(path)
    document = _document(path)
    if document is None:
        rows = tuple(_parse(row, path, number) for number, row in _lines(path))
    else:
        rows = tuple(_of_document(document, path))
    if not rows:
        raise EvaluationError(f"{path}: no response in it. Each line holds one, as {{id, suite, language, response}}.")
    if manifest and manifest.num_responses != len(rows):
        raise EvaluationError(
            f"{path}: {len(rows)} responses, {manifest.num_responses} by its manifest. Restore the file."
        )
    names = {str(row.checkpoint["name"]) for row in rows if row.checkpoint.get("name")}
    name = names.pop() if len(names) == 1 else path.name
    return ResponseFile(path=path, name=name, sha256=file_sha256(path), rows=rows, manifest=manifest)


def _read_manifest(path: Path) -> ResponseManifest | None:
    beside = manifest_path(path)
    if not beside.is_file():
        return None
    manifest = read_as(ResponseManifest, beside, mend="Restore it, or remove it: the file then counts as recorded.")
    if path.is_file() and file_sha256(path) != manifest.sha256:
        raise EvaluationError(
            f"{path}: changed since it was written (sha256 differs from {beside.name}). Restore it, or write it anew."
        )
    return manifest


def _bytes_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as f:
            yield from f
    except (OSError, EOFError, zlib.error) as e:  # gzip.BadGzipFile is an OSError without strerror
        reason = getattr(e, "strerror", None) or e
        raise EvaluationError(f"{path}: cannot be read ({reason}). Check the path and that the file is whole.") from e


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_bytes_lines(path), start=1):
        if line.strip():
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as e:
                raise EvaluationError(f"{path}:{number}: not JSON ({e}). Mend or remove the line.") from e
            if not isinstance(row, dict):
                raise EvaluationError(f"{path}:{number}: not a JSON object. Each line holds one response.")
            yield number, row


def _document(path: Path) -> dict[str, Any] | None:
    """The TC-Eval form, on one line or on many; None: the file consists of lines."""
    first = next((line for line in _bytes_lines(path) if line.strip()), b"")
    head = first.strip()
    if not (head == b"{" or (head.startswith(b"{") and b'"results"' in head)):
        return None
    try:
        value = orjson.loads(b"".join(_bytes_lines(path)))
    except orjson.JSONDecodeError as e:
        if head != b"{":
            return None  # lines whose first one holds the word
        raise EvaluationError(f"{path}: not JSON ({e}). Write JSON lines, or one whole document.") from e
    return value if isinstance(value, dict) and isinstance(value.get("results"), dict) else None


def _of_document(document: Mapping[str, Any], path: Path) -> Iterator[Response]:
    name = document.get("name")
    for task, rows in document["results"].items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise EvaluationError(f"{path}: results.{task} is not a list of {{id, response}}. Mend it.")
        for number, row in enumerate(rows, start=1):
            where = f"{path}: results.{task}[{number - 1}]"
            yield _recorded({**row, "task": task, "name": name}, where, number)


def _parse(row: Mapping[str, Any], path: Path, number: int) -> Response:
    where = f"{path}:{number}"
    if "suite" in row and "id" in row:
        return _of_contract(row, where, number)
    if ("task" in row and "id" in row) or "key" in row or "prompt" in row:
        return _recorded(row, where, number)
    keys = ", ".join(sorted(row)) or "nothing"
    raise EvaluationError(
        f"{where}: has {keys}; a response needs suite and id, task and id, key, or prompt, and response. Mend the line."
    )


def _recorded(row: Mapping[str, Any], where: str, number: int) -> Response:
    identity = row.get("id", row.get("key"))
    prompt, name = _prompt(row, where), row.get("name")
    if identity is None and prompt is None:
        raise EvaluationError(f"{where}: neither id, key nor prompt says what it answers. Mend the line.")
    return Response(
        id=None if identity is None else _identity(identity, where),
        suite=_optional(row, "task", where) or _optional(row, "suite", where),
        text=_text(row, where),
        language=_optional(row, "language", where),
        prompt=prompt,
        prompt_sha256=_optional(row, "prompt_sha256", where),
        checkpoint={"name": name} if isinstance(name, str) else {},
        recorded=True,
        line=number,
    )


def _of_contract(row: Mapping[str, Any], where: str, number: int) -> Response:
    if not isinstance(row["suite"], str):
        raise EvaluationError(f"{where}: suite is no text. Mend the line.")
    for name in ("generation", "checkpoint"):
        if not isinstance(row.get(name) or {}, dict):
            raise EvaluationError(f"{where}: {name} is no object. Mend the line.")
    tokens, finish = row.get("tokens"), row.get("finish")
    if not (tokens is None or (isinstance(tokens, int) and tokens >= 0)) or finish not in (None, "stop", "length"):
        raise EvaluationError(f"{where}: tokens must be a number of tokens, finish stop or length. Mend the line.")
    return Response(
        id=_identity(row["id"], where),
        suite=row["suite"],
        text=_text(row, where),
        language=_optional(row, "language", where),
        expected_language=_optional(row, "expected_language", where),
        prompt=_prompt(row, where),
        prompt_sha256=_optional(row, "prompt_sha256", where),
        finish=finish,
        tokens=tokens,
        generation=row.get("generation") or {},
        checkpoint=row.get("checkpoint") or {},
        line=number,
    )


def _identity(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise EvaluationError(f"{where}: its id is {value!r}; it must be a text or a whole number. Mend the line.")
    return str(value)


def _optional(row: Mapping[str, Any], name: str, where: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise EvaluationError(f"{where}: {name} is no text. Mend the line.")
    return value


def _text(row: Mapping[str, Any], where: str) -> str:
    text = row.get("response")
    if not isinstance(text, str):
        found = "no response" if text is None else f"a response that is no text ({type(text).__name__})"
        raise EvaluationError(f'{where}: {found}. An empty one is written as "".')
    if len(text) > MAX_RESPONSE_CHARACTERS:
        raise EvaluationError(
            f"{where}: a response of {len(text):,} characters; at most {MAX_RESPONSE_CHARACTERS:,} are scored. "
            "Cut it where generation should have stopped."
        )
    return text if encodable(text) else text.encode("utf-8", "replace").decode()


def _prompt(row: Mapping[str, Any], where: str) -> str | Messages | None:
    prompt = row.get("prompt")
    if prompt is None or isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in prompt
    ):
        return [{"role": m["role"], "content": m["content"]} for m in prompt]
    raise EvaluationError(f"{where}: prompt is neither a text nor a list of {{role, content}}. Mend the line.")
