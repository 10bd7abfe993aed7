"""Own data straight into a training: files of any layout become a mix, without curation.

    stage = own_mix(Path("runs/mine"), [DataFile.parse("mine.jsonl")], OwnMixParameters(), tokenizer=tokenizer)
    stage.path("train.jsonl")

Every usable example is taken once, a seeded part of them is kept for validation, and the others are shuffled. Files may
be mixed by shares of tokens. Where one example is a conversation, all that have an answer are written as conversations,
so that the model learns one template.

Where it sits: `core/example` -> **own_mix** -> the mix that plan, rehearsal and training read.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from core.encoding.example_ids import ExampleEncoder, PairIds
from core.encoding.rendering import Loss
from core.errors import DataError
from core.example.example import Conversation, Example, Message, Preference, Prompted, Role, Unusable, kind
from core.example.layout import Layout
from core.example.licence import spdx_expression
from core.example.mix_line import MixExample, as_line
from core.example.reading import Census, Read, Source, open_source, texts
from core.files import JSON_OPTIONS, make_folder, sha256
from core.model.token_ids import RowIds
from core.records.hub import is_hub_name, pinned
from core.records.record import Place, Rejected
from core.run_folder import MIX
from core.stage import SCRATCH, Dropped, Stage, Summary
from core.text import nfc
from harness.data.share import DataFile, parts_by_share
from harness.data.split import SplitParameters, validation_groups
from harness.data.template import Template

TRAIN, VALIDATION = "train.jsonl", "validation.jsonl"
ENCODED_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMixParameters:
    """How files become a mix."""

    seed: int = 2023
    split: SplitParameters = field(default_factory=SplitParameters)
    loss: Loss = Loss.RESPONSES
    template: Template = Template.AUTO
    layout: Layout | None = None
    """Of every record; None: found by looking."""
    pairs: bool = False
    """Take pairs of answers, for a preference objective, and nothing else; False: take everything else."""

    def described(self) -> dict[str, object]:
        """The parameters as inputs of the stage."""
        return {name: value for name, value in asdict(self).items() if name != "pairs" or value}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMixDetails:
    """What the stage's `summary.json` says besides its tallies."""

    train_rows: int
    validation_rows: int
    rows_by_source: Mapping[str, int]
    rows_by_spdx: Mapping[str, int]
    rows_by_kind: Mapping[str, int]
    tokens_by_source: Mapping[str, int]
    """Empty if no share was asked for: tokens are not counted then."""
    template: Template
    """`alpaca` or `chat`."""
    notes: tuple[str, ...]
    """Layouts, columns and files that are not used; a sentence each."""


class _Kept(NamedTuple):
    """A usable example. Its line stands in a scratch file, so that memory does not grow with the texts."""

    id: str
    source: str
    offset: int
    num_tokens: int
    """0: not counted, because no share is asked for."""
    place: str
    kind: str
    spdx: str
    group: str
    """Examples of one group are all trained on or all validated on."""


def own_mix(
    run: Path,
    files: Sequence[DataFile],
    parameters: OwnMixParameters,
    *,
    tokenizer: Any = None,
    tokenizer_name: str = "",
    redo: bool = False,
) -> Stage:
    """05_mix from files.

    Args:
        tokenizer: Counts tokens; needed where a file has a share.
        tokenizer_name: Its fingerprint.
    Raises:
        DataError: a file cannot be read, holds no usable example, or a share cannot be met.
        StageError: the folder holds a mix of other inputs.
    """
    sources = _sources(files, parameters.layout)
    shares = {name: file.share for name, (file, _) in sources.items()}
    by_share = any(share is not None for share in shares.values())
    inputs: dict[str, object] = {
        "data": {name: {"fingerprint": _fingerprint(s), "share": f.share} for name, (f, s) in sources.items()},
        "parameters": parameters.described(),
        "tokenizer": tokenizer_name if by_share else "",
    }
    stage = Stage(run / MIX, inputs=inputs, redo=redo)
    if stage.is_done:
        return stage
    work = _Work(
        stage=stage,
        parameters=parameters,
        is_chat=_is_chat(parameters.template, [source for _, source in sources.values()]),
        encoder=ExampleEncoder(tokenizer=tokenizer) if by_share else None,
    )
    for name, (_, source) in sources.items():
        work.read(name, source)
    work.write(shares if by_share else {})
    return stage


def _sources(files: Sequence[DataFile], layout: Layout | None) -> dict[str, tuple[DataFile, Source]]:
    found: dict[str, tuple[DataFile, Source]] = {}
    for file in files:
        given = pinned(file.path) if is_hub_name(file.path) else file.path
        source = open_source(given, layout=layout)
        if source.name in found:
            raise DataError(f"{file.path}: two files of `data=` are called {source.name}. Rename one.")
        found[source.name] = (file, source)
    return found


def _fingerprint(source: Source) -> str:
    return source.fingerprint() if source.parts else source.where.partition("@")[2]


def _is_chat(template: Template, sources: Sequence[Source]) -> bool:
    """Whether examples with an answer are written as conversations; the files are read up to the first of them."""
    if template is not Template.AUTO:
        return template is Template.CHAT
    return any(
        isinstance(item, Read) and isinstance(item.example, Conversation)
        for source in sources
        for item in source.examples()
    )


_OTHER_OBJECTIVE = {
    True: ("no_rejected_answer", "has no rejected answer, and the recipe trains preferences"),
    False: ("preference", "a pair of answers is trained by a recipe with rl: dpo"),
}
"""Why an example is left out, by whether pairs are taken: reason and detail."""


def _trained_on(example: Example) -> str:
    """Hash of the texts that are trained on, the same for an instruction and for a chat that says the same."""
    shown = example.as_conversation() if isinstance(example, Prompted) else example
    return sha256("\0".join(map(nfc, texts(shown))).encode())


@dataclass(slots=True, kw_only=True)
class _Work:
    """Reads the files into a scratch file, then writes the chosen lines."""

    stage: Stage
    parameters: OwnMixParameters
    is_chat: bool
    encoder: ExampleEncoder | None
    kept: list[_Kept] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_read: int = 0
    num_examples: int = 0
    """Records that hold an example."""
    _seen: dict[str, str] = field(default_factory=dict)
    """Hash of an example's texts -> its id."""
    _ids: set[str] = field(default_factory=set)

    @property
    def _lines(self) -> Path:
        return self.stage.path(SCRATCH) / "lines.jsonl"

    def read(self, name: str, source: Source) -> None:
        """Writes the usable examples of a source, and notes why others are not used."""
        census, before = Census(), len(self.kept)
        make_folder(self._lines.parent)
        with self._lines.open("ab" if before else "wb") as file:
            batch: list[MixExample] = []
            for number, item in enumerate(source.examples(), start=1):
                census.add(item)
                if entry := self._usable(name, number, item):
                    batch.append(entry)
                if len(batch) == ENCODED_AT_ONCE:
                    self._write(file, batch)
                    batch = []
            self._write(file, batch)
        self.num_read += census.num_records
        self.num_examples += census.num_records - sum(census.rejected.values())
        self.notes += census.told(source.where)
        self.notes += [f"{skipped}: not read, for it is no data file of a known kind" for skipped in source.skipped]
        self.notes += [f"{name}: not read, for it holds a split to test on" for name in source.held_out]
        if len(self.kept) == before:
            self.stage.give_up()
            raise DataError(
                f"{source.where}: no usable example ({self._why()}). `oneday check {source.where}` lists all."
            )

    def _why(self) -> str:
        reasons = Counter({reason: n for (_, reason), n in self.stage.num_dropped.items()})
        return ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common(3)) or "it is empty"

    def _usable(self, name: str, number: int, item: Read | Rejected) -> MixExample | None:
        """The example as it is trained; None: it was dropped."""
        if isinstance(item, Rejected):
            place = str(item.place)
            self.stage.drop(Dropped(unit="record", id=place, reason=item.reason, detail=item.detail, source=place))
            return None
        row_id = self._row_id(name, item.example.description.id, number)
        if isinstance(item.example, Preference) is not self.parameters.pairs:
            reason, detail = _OTHER_OBJECTIVE[self.parameters.pairs]
            self._drop(row_id, reason, detail, item.place)
            return None
        key = _trained_on(item.example)
        if key in self._seen:
            self._drop(row_id, "duplicate", f"same as {self._seen[key]}", item.place)
            return None
        self._seen[key] = row_id
        example = self._in_template(item.example)
        if isinstance(example, Conversation) and not any(message.is_trained for message in example.messages):
            self._drop(row_id, "nothing_trained", "its last answer has weight 0", item.place)
            return None
        return MixExample(
            id=row_id,
            source=name,
            origin=str(item.place),
            example=example,
            trains_prompt=self.parameters.loss is Loss.ALL,
        )

    def _row_id(self, name: str, given: str, number: int) -> str:
        """The record's own id, behind the file's name; its number where the id was used before."""
        row_id = f"{name}-{given or number}"
        row_id = row_id if row_id not in self._ids else f"{name}-{number}#{given}"
        self._ids.add(row_id)
        return row_id

    def _drop(self, row_id: str, reason: str, detail: str, place: Place) -> None:
        self.stage.drop(Dropped(unit="row", id=row_id, reason=reason, detail=detail, source=str(place)))

    def _in_template(self, example: Example) -> Example:
        if self.is_chat and isinstance(example, Prompted):
            example = example.as_conversation()
        if self.parameters.loss is Loss.LAST and isinstance(example, Conversation):
            return replace(example, messages=_last_trained(example.messages))
        return example

    def _write(self, file: Any, batch: Sequence[MixExample]) -> None:
        for item, num_tokens in zip(batch, self._lengths(batch), strict=True):
            described = item.example.description
            kept = _Kept(
                id=item.id,
                source=item.source,
                offset=file.tell(),
                num_tokens=num_tokens,
                place=item.origin,
                kind=kind(item.example).value,
                spdx=spdx_expression([described.licence] if described.licence else []),
                group=described.other.get("conversation_id") or item.id,
            )
            file.write(orjson.dumps(as_line(item), option=JSON_OPTIONS))
            self.kept.append(kept)

    def _lengths(self, examples: Sequence[MixExample]) -> list[int]:
        """Tokens of each example; 0 where they are not needed, and of an example that cannot be rendered."""
        if self.encoder is None:
            return [0] * len(examples)
        if self.parameters.pairs:
            return [_pair_length(ids) for ids in self.encoder.encode_pairs(examples)]
        return [len(ids.input_ids) if isinstance(ids, RowIds) else 0 for ids in self.encoder.encode(examples)]

    def write(self, shares: Mapping[str, float | None]) -> None:
        """Chooses by share, splits, shuffles and writes both files."""
        chosen = self._chosen(shares) if shares else self.kept
        groups = sorted({kept.group for kept in chosen})
        if len(groups) < 2:
            self.stage.give_up()
            found = f"{len(chosen)} usable examples of one conversation" if len(chosen) > 1 else "1 usable example"
            why = f" ({self._why()})" if self.stage.num_dropped else ""
            raise DataError(f"`data=`: {found}{why}, and a training needs at least two: one is kept to validate on.")
        held_out = validation_groups(groups, self.parameters.split, seed=self.parameters.seed)
        parts = {
            VALIDATION: [kept for kept in chosen if kept.group in held_out],
            TRAIN: [kept for kept in chosen if kept.group not in held_out],
        }
        for name, rows in parts.items():
            random.Random(f"{name}-{self.parameters.seed}").shuffle(rows)
            self.stage.write_rows(name, self._read_lines(rows))
        details = OwnMixDetails(
            train_rows=len(parts[TRAIN]),
            validation_rows=len(parts[VALIDATION]),
            rows_by_source=_counted(kept.source for kept in chosen),
            rows_by_spdx=_counted(kept.spdx for kept in chosen),
            rows_by_kind=_counted(kept.kind for kept in chosen),
            tokens_by_source=self._tokens(chosen),
            template=Template.CHAT if self.is_chat else Template.ALPACA,
            notes=tuple(self.notes),
        )
        tallies = {
            "record": self.stage.tally("record", read=self.num_read, kept=self.num_examples),
            "row": self.stage.tally("row", read=self.num_examples, kept=len(chosen)),
        }
        self._lines.unlink()
        self.stage.finish(Summary(tallies=tallies, details=details))

    def _chosen(self, shares: Mapping[str, float | None]) -> list[_Kept]:
        by_source: dict[str, list[_Kept]] = defaultdict(list)
        for kept in self.kept:
            by_source[kept.source].append(kept)
        wanted = parts_by_share({name: sum(k.num_tokens for k in rows) for name, rows in by_source.items()}, shares)
        chosen: list[_Kept] = []
        for name, rows in by_source.items():
            random.Random(f"share-{name}-{self.parameters.seed}").shuffle(rows)
            total = 0
            for kept in rows:
                if total + kept.num_tokens <= wanted[name]:
                    chosen.append(kept)
                    total += kept.num_tokens
                else:
                    detail = f"{name} has its share with {wanted[name]:,} tokens"
                    self.stage.drop(Dropped(unit="row", id=kept.id, reason="share", detail=detail, source=kept.place))
        return chosen

    def _tokens(self, chosen: Sequence[_Kept]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for kept in chosen:
            counts[kept.source] += kept.num_tokens
        return dict(sorted(counts.items())) if self.encoder else {}

    def _read_lines(self, rows: Sequence[_Kept]) -> Iterator[Mapping[str, object]]:
        with self._lines.open("rb") as file:
            for kept in rows:
                file.seek(kept.offset)
                yield orjson.loads(file.readline())


def _pair_length(ids: PairIds | Unusable) -> int:
    return 0 if isinstance(ids, Unusable) else len(ids.chosen.input_ids) + len(ids.rejected.input_ids)


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _last_trained(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The same messages, of which only the last answer is trained."""
    last = max(number for number, message in enumerate(messages) if message.role is Role.ASSISTANT)
    return tuple(
        replace(message, is_trained=message.is_trained and number == last) for number, message in enumerate(messages)
    )
