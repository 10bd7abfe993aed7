"""Self-translation: the base model translates data line by line from examples. Code and white space are kept.

    for item in translated(rows, asking, store):
        ...                                   # a Row in the other language, or a Dropped with its reason

Every text of a row is translated; a preference has prompt, chosen and rejected. If one line of a row gets no
translation, the whole row is dropped.

The prompt shows examples as `<|user|>{source}\\n<|assistant|>{target}\\nEND`. The translation is the first line of the
output, cut at `END` or `<|user|>`.

Where it sits: rows + lines -> **translate** -> core/generation/ask.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from core.errors import MixError
from core.example.language import language_code
from core.generation.answer_store import AnswerStore
from core.generation.ask import ask
from core.generation.request import Answer, Kind, Predictor, Refused, Request
from core.generation.wrapped import WrappedPredictor
from core.model.completion import Completion
from core.records.record import Record, Rejected
from core.stage import Dropped
from curation.builders.lines import Piece, pieces
from curation.builders.rows import InputSpec, IsInput, Row, contents, records, with_contents
from curation.builders.work import BuildContext, BuildOptions, Output

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "END"
"""Source: format `user_assistant` of `translate_datasets.py`, the script of the authors of Poro's post-training."""

STOP = ("\n",)
_LEAST_TOKENS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslateOptions(BuildOptions):
    """Options of a translation, apart from the engine."""

    data: Annotated[str, IsInput()]
    """Data to translate: FILE, NAME=FILE, or FILE#KEY to read one key of each record."""
    to: str
    """Target language, such as fi."""
    shots_from: Path
    """File of example translations with source and target, each one line of text. The first ones are used."""
    shots: int = 5
    """Number of examples in each request."""
    tokens_per_byte: float = 0.5
    """Maximum number of new tokens per byte of the line, in addition to 32."""

    def check(self) -> None:
        """Raises `MixError` if a value cannot be used."""
        if self.shots < 1:
            raise MixError(f"`shots={self.shots}`: a base model needs examples. Give 1 or more; the default is 5.")
        if not self.tokens_per_byte > 0:
            raise MixError(f"`tokens_per_byte={self.tokens_per_byte:g}`: must be above 0. The default is 0.5.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """An example translation."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Builds the requests."""

    shots: tuple[Shot, ...]
    to: str
    tokens_per_byte: float = 0.5

    @property
    def preamble(self) -> str:
        """The examples, with which every prompt begins."""
        return "".join(f"{USER}{shot.source}\n{ASSISTANT}{shot.target}\n{END}\n\n" for shot in self.shots)

    def request(self, name: str, line: str) -> Request:
        """Returns the request for one line."""
        return Request(
            task=f"translate_{self.to}",
            id=name,
            kind=Kind.GENERATION,
            prompt=f"{self.preamble}{USER}{line}\n{ASSISTANT}",
            num_shared=len(self.preamble),
            num_shots=len(self.shots),
            references=(),
            max_new_tokens=_LEAST_TOKENS + int(len(line.encode()) * self.tokens_per_byte),
            stop=STOP,
        )


def read_shots(path: Path, num: int) -> tuple[Shot, ...]:
    """Reads the first examples of a file.

    Raises:
        MixError: it has too few, or one of them is not a line of text.
    """
    shots: list[Shot] = []
    for item in records(InputSpec.parse(str(path))):
        if len(shots) == num:
            break
        shots.append(_shot(item))
    if len(shots) < num:
        raise MixError(f"{path}: has {len(shots)} examples, but `shots={num}` are needed. Add some.")
    return tuple(shots)


def _shot(item: Record | Rejected) -> Shot:
    if isinstance(item, Rejected):
        raise MixError(f"{item}. Mend the line.")
    source, target = (_line(item.columns.get(name)) for name in ("source", "target"))
    if not source or not target:
        raise MixError(f"{item.place}: lacks `source` or `target` as one line of text. Mend the line.")
    return Shot(source=source, target=target)


def _line(value: Any) -> str:
    return value.strip() if isinstance(value, str) and "\n" not in value.strip() else ""


def outputs(options: TranslateOptions, context: BuildContext) -> Iterator[Output]:
    """Yields one file in the target language. Rows keep their ids."""
    assert context.predictor is not None
    data = InputSpec.parse(options.data)
    to = language_code(options.to)
    asking = Asking(shots=read_shots(options.shots_from, options.shots), to=to, tokens_per_byte=options.tokens_per_byte)
    yield Output(name=f"{data.name}-{to}", items=_asked(data, asking, context), num_in=lambda: context.num_in["row"])


def _asked(data: InputSpec, asking: Asking, context: BuildContext) -> Iterator[Row | Dropped]:
    assert context.predictor is not None
    keeps = context.predictor.keeps_answers and context.answers is not None
    tallied = Counts()
    with AnswerStore(context.answers) if keeps and context.answers else nullcontext() as store:
        for item in translated(context.counted_rows(data), asking, context.predictor, store, tallied):
            context.on_progress("translated", tallied.rows)
            yield item
    context.tables["lines"] = [{"rows": tallied.rows, "lines": tallied.lines, "kept pieces": tallied.kept}]


@dataclass(slots=True, kw_only=True)
class Counts:
    """Number of rows and requests."""

    rows: int = 0
    lines: int = 0
    kept: int = 0
    """Pieces that were copied: white space, code, lines without a letter."""


@dataclass(slots=True, kw_only=True)
class _Job:
    """A row with its pieces and the translations received so far."""

    row: Row
    texts: list[list[Piece]]
    waits: int
    found: list[str] = field(default_factory=list)
    reason: str = ""
    detail: str = ""


def translated(
    rows: Iterable[Row],
    asking: Asking,
    predictor: Predictor,
    store: AnswerStore | None,
    counts: Counts | None = None,
) -> Iterator[Row | Dropped]:
    """Yields every row in the target language, in order. Drops a row if one of its lines gets no translation."""
    jobs: deque[_Job] = deque()
    counts = counts or Counts()

    def requests() -> Iterator[Request]:
        for row in rows:
            job, asked = _job(row, asking, predictor)
            counts.rows += 1
            counts.lines += len(asked)
            counts.kept += sum(not piece.is_translated for text in job.texts for piece in text)
            jobs.append(job)
            yield from asked

    for request, _, answer in ask(requests(), WholeLines(predictor), store):
        yield from _finished(jobs, asking.to)
        _take(jobs[0], request, answer)
    yield from _finished(jobs, asking.to)


def _job(row: Row, asking: Asking, predictor: Predictor) -> tuple[_Job, list[Request]]:
    texts = [list(pieces(text)) for text in contents(row.example)]
    lines = [piece.text for text in texts for piece in text if piece.is_translated]
    asked = [asking.request(f"{row.id}:{number}", line) for number, line in enumerate(lines, start=1)]
    long = [request for request in asked if not predictor.fits(request.prompt, request.max_new_tokens)]
    if long:
        detail = f"{len(long)} lines with their examples do not fit into the model's context"
        return _Job(row=row, texts=texts, waits=0, reason="line_too_long", detail=detail), []
    return _Job(row=row, texts=texts, waits=len(asked)), asked


def _take(job: _Job, request: Request, answer: Answer) -> None:
    """Adds an answer to its row."""
    job.waits -= 1
    line = request.prompt[request.num_shared + len(USER) : -len(f"\n{ASSISTANT}")]
    text = "" if isinstance(answer, Refused) else translation(answer, line)
    if isinstance(answer, Refused):
        job.reason, job.detail = answer.reason, answer.detail
    elif not text:
        job.reason, job.detail = job.reason or "no_translation", job.detail or f"of {line[:60]!r}"
    job.found.append(text)


def _finished(jobs: deque[_Job], to: str) -> Iterator[Row | Dropped]:
    while jobs and not jobs[0].waits:
        job = jobs.popleft()
        if job.reason:
            yield Dropped(unit="row", id=job.row.id, reason=job.reason, detail=job.detail, source=job.row.source)
        else:
            yield _in_target_language(job, to)


def _in_target_language(job: _Job, to: str) -> Row:
    """Returns the row with its lines replaced."""
    found = iter(job.found)
    texts = ["".join(next(found) if piece.is_translated else piece.text for piece in text) for text in job.texts]
    example = with_contents(job.row.example, texts)
    return replace(job.row, example=replace(example, description=replace(example.description, language=to)))


class WholeLines(WrappedPredictor):
    """A predictor that refuses answers which were cut off at `max_new_tokens` before the translation ended.

    Engines that do not report why an answer ended are used as they are.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        self._respond: Callable[[Sequence[Request]], Sequence[Completion | Refused]] | None
        self._respond = getattr(predictor, "respond", None)

    def complete(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """The answers, those that were cut off refused."""
        if self._respond is None:
            return super().complete(requests)
        return [_whole(answer, request) for answer, request in zip(self._respond(requests), requests, strict=True)]


def _whole(answer: Completion | Refused, request: Request) -> Answer:
    if isinstance(answer, Refused):
        return answer
    is_ended = "\n" in answer.text or _USER.search(answer.text) or _END.search(answer.text)
    if answer.finish == "length" and not is_ended:
        return Refused(reason="cut_off", detail=f"no end within {request.max_new_tokens} tokens")
    return answer.text


def translation(output: str, line: str) -> str:
    """Returns the first line of an output, cut at the first `<|user|>` or `END` beyond those that the source line has.

    >>> translation(" Hei.\\nEND\\n<|user|>", "Hello."), translation("LOPPU END of it", "The end")
    ('Hei.', 'LOPPU END of it')
    """
    text = output.partition("\n")[0]
    for mark in (_USER, _END):
        ends = [found.start() for found in mark.finditer(text)]
        own = len(re.findall(mark.pattern, line, re.IGNORECASE))
        if len(ends) > own:
            text = text[: ends[own]]
    return text.strip()


_USER, _END = re.compile(re.escape(USER)), re.compile(rf"(?<!\S){END}(?!\S)")
