"""Records of the other sources, and how each becomes a row.

    for row in read_source(located["quac"], RecordParameters()):
        ...

One function a data set maps its published schema to instruction, input and output. Wordings of instructions are this
project's own where the winner's were not published.

Where it sits: source -> **record** -> policy.
"""

import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curation.errors import SourceError
from curation.licence import spdx_expression
from curation.source import (
    CNN_DAILYMAIL,
    LIMA,
    MATHINSTRUCT,
    OPENBOOKQA,
    PLATYPUS,
    QUAC,
    SOURCES,
    Located,
    MixRow,
)
from curation.stage import Dropped, file_sha256, read_jsonl, sha256
from curation.task import encodable

Record = Mapping[str, Any]

PLATYPUS_LLM_PARTS = ("airoboros", "guanaco", "leetcode_ne", "tigerbot-kaggle")
"""Parts of Open-Platypus whose answers a language model wrote, or is suspected to have written: 4,888 of 24,926 rows.
airoboros and leetcode_ne are GPT-4's by their cards. Which parts the winner left out was not published."""

PLATYPUS_LICENCES = {
    "MATH/PRM-800K": "MIT",
    "reclor": "Non-commercial",
    "airoboros": "CC BY-NC 4.0",
    "scienceqa": "CC BY-NC-SA 4.0",
    "leetcode_ne": "Unknown",
    "guanaco": "Apache 2.0",
    "ARB": "CC BY 4.0",
    "scibench": "MIT",
    "theoremqa": "MIT",
    "tigerbot-kaggle": "Apache 2.0",
}
"""Part -> licence. Source: the table of its card."""

MATH_HUMAN_PARTS = ("data/CoT/gsm_train.json", "data/CoT/aqua_rat.json", "data/CoT/MATH_train.json")
"""Parts of MathInstruct with human-written answers in words. Source: the winner's script; about 104K rows."""

MATH_PROGRAMS = ("data/PoT/mathqa.json", "data/PoT/numglue.json")
"""Parts with human-written answers in Python. Left out, as the winner's scripts did with all that prints."""

MATH_LICENCES = {
    "CoT/aqua_rat": "Apache 2.0",
    "CoT/gsm_rft": "Unknown",
    "CoT/math50k_camel": "CC BY-NC 4.0",
    "PoT/aqua_rat_filtered": "Apache 2.0",
    "PoT/mathqa": "Apache 2.0",
    "PoT/numglue": "Apache 2.0",
}
"""Part -> licence, where its card's table has another one than MIT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordParameters:
    """How records become rows."""

    lower_case_math: float = 0.0
    """Share of MathInstruct questions that are lower-cased. Source: .3 in the winner's script."""
    question_as_input: bool = False
    """A question that comes without input of its own (LIMA, Open-Platypus, MathInstruct) stands under `### Input:`, as
    in the winner's file, not under `### Instruction:`."""
    seed: int = 2023


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mapped:
    """A record's texts."""

    instruction: str
    input: str
    output: str
    part: str = ""
    licence: str = ""
    """Of the part; empty: the source's."""
    llm_generated: bool = False
    left_out: str = ""
    """Reason why the row is none of the source's that are wanted."""


_Mapper = Callable[[Record, int, RecordParameters], _Mapped]


def read_source(
    located: Located, parameters: RecordParameters, *, load: Callable[[Located], Iterator[Record]] | None = None
) -> Iterator[MixRow | Dropped]:
    """Every record as a row, or as dropped with its reason, mostly `malformed`.

    Args:
        load: Reads the records; default: from the file, or from the hub.
    Raises:
        SourceError: the first record does not have the source's columns, or there is none.
    """
    source = SOURCES[located.name]
    mapper, columns = _MAPPERS[located.name]
    where = ", ".join(map(str, located.paths)) or located.hub
    num = 0
    for num, record in enumerate((load or records)(located), start=1):
        if num == 1 and not set(columns) <= set(record):
            raise SourceError(
                f"{where}: not {source.hub}: its first record has {', '.join(sorted(record))}, "
                f"not {', '.join(columns)}. Check --source {located.name}."
            )
        row_id = f"{located.name}-{num:06d}"
        try:
            mapped = mapper(record, num, parameters)
            texts = (mapped.instruction, mapped.input, mapped.output)
            fit = bool(mapped.output.strip() and "".join(texts[:2]).strip()) and encodable(*texts)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            fit = False
        if not fit:
            yield Dropped(unit="row", id=row_id, reason="malformed", detail=f"{where}: record {num}")
            continue
        if mapped.left_out:
            yield Dropped(unit="row", id=row_id, reason=mapped.left_out, detail=f"{where}: record {num}")
            continue
        licence = mapped.licence or source.licence
        if parameters.question_as_input and not mapped.input:
            mapped = replace(mapped, instruction="", input=mapped.instruction)
        yield MixRow(
            id=row_id,
            source=located.name,
            task=mapped.part or located.name,
            origin=f"{source.hub}#{num}",
            licence=licence,
            spdx=spdx_expression([licence]),
            language=source.language,
            llm_generated=mapped.llm_generated,
            instruction=mapped.instruction,
            input=mapped.input,
            output=mapped.output.strip(),
        )
    if num == 0:
        raise SourceError(f"{where}: no record in it. Check --source {located.name}.")


def records(located: Located) -> Iterator[Record]:
    """The records of a local file or of the hub.

    Raises:
        SourceError: unreadable, of an unknown kind, or the hub cannot be reached.
    """
    if not located.paths:
        return _hub_records(located)
    return itertools.chain.from_iterable(map(_file_records, located.paths))


def _file_records(path: Path) -> Iterator[Record]:
    if path.suffix == ".jsonl":
        return read_jsonl(path)
    if path.suffix == ".parquet":
        return _parquet_records(path)
    if path.suffix == ".json":
        return _json_records(path)
    raise SourceError(f"{path}: unknown kind of file. Give .jsonl, .json or .parquet.")


def _parquet_records(path: Path) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as e:
        raise SourceError(f"{path}: not Parquet ({str(e).splitlines()[0]}). Fetch it again.") from e


def _json_records(path: Path) -> Iterator[Record]:
    import orjson

    try:
        document = orjson.loads(path.read_bytes())
        if isinstance(document, dict) and "data" in document:
            document = list(_quac_dialogues(document["data"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as e:
        raise SourceError(f"{path}: not JSON of a known layout ({e}). Give a list of records, or JSON lines.") from e
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise SourceError(f"{path}: not a list of records. Give one, or JSON lines.")
    yield from document


def resolve_on_hub(dataset: str, revision: str | None) -> str:
    """The commit that a branch of a hub data set points at now; a local folder stands for its own files.

    Raises:
        SourceError: unknown, gated, or no network.
    """
    if Path(dataset).is_dir():
        files = sorted(path for path in Path(dataset).rglob("*") if path.is_file())
        return sha256("\n".join(f"{path.relative_to(dataset)} {file_sha256(path)}" for path in files).encode())
    import httpx
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(dataset, revision=revision).sha)
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as e:
        raise SourceError(_unreachable(dataset, e)) from e


def _hub_records(located: Located) -> Iterator[Record]:
    import datasets
    import httpx

    source = SOURCES[located.name]
    local = Path(located.hub).is_dir()
    revision = None if local else located.revision
    try:
        if source.files:
            where = located.hub if local else f"hf://datasets/{located.hub}@{located.revision}"
            files = f"{where}/{source.files}"
            data = datasets.load_dataset("json", data_files={source.split: files}, split=source.split)
        else:
            data = datasets.load_dataset(located.hub, source.config, split=source.split, revision=revision)
    except (httpx.HTTPError, OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as e:
        raise SourceError(_unreachable(located.hub, e)) from e
    yield from data


def _unreachable(dataset: str, e: Exception) -> str:
    told = e.__cause__ if isinstance(e.__cause__, Exception) else e
    why = next(iter(str(told).splitlines()), "") or type(told).__name__
    return (
        f"{dataset}: cannot be had from the datasets hub ({why}). Check the network, HF_HUB_OFFLINE and, for a gated "
        "one, `hf auth login`; or fetch a file and pass --source NAME=FILE."
    )


def _lima(record: Record, number: int, parameters: RecordParameters) -> _Mapped:
    """The first turn of each conversation, as the winner took it."""
    turns = record["conversations"]
    if not isinstance(turns, list):
        raise TypeError("conversations is no list of turns")
    question, answer = turns[:2]
    return _Mapped(instruction=question, input="", output=answer)


def _platypus(record: Record, number: int, parameters: RecordParameters) -> _Mapped:
    part = record.get("data_source") or "unknown"
    return _Mapped(
        instruction=record["instruction"],
        input=record.get("input") or "",
        output=record["output"],
        part=f"{PLATYPUS}/{part}",
        licence=PLATYPUS_LICENCES.get(part, "Unknown"),
        llm_generated=part in PLATYPUS_LLM_PARTS,
    )


def _openbookqa(record: Record, number: int, parameters: RecordParameters) -> _Mapped:
    choices = dict(zip(record["choices"]["label"], record["choices"]["text"], strict=True))
    options = "\n".join(f"{label}. {text}" for label, text in choices.items())
    return _Mapped(
        instruction="Complete the sentence or answer the question with the one option that fits. Give its text.",
        input=f"{record['question_stem']}\n{options}",
        output=choices[record["answerKey"]],
    )


NO_ANSWER = "Not enough information"
"""What stands for QuAC's CANNOTANSWER. Source: HELM's QuAC scenario."""


def _quac(record: Record, number: int, parameters: RecordParameters) -> _Mapped:
    """One turn of each dialogue, drawn at random, with the turns before it."""
    questions = record["questions"]
    answers = [
        NO_ANSWER if texts[0] == "CANNOTANSWER" else texts[0].removesuffix("CANNOTANSWER")
        for texts in record["answers"]["texts"]
    ]
    turn = random.Random(f"quac-{parameters.seed}-{number}").randrange(len(questions))
    before = "".join(f"Question: {q}\nAnswer: {a}\n" for q, a in zip(questions[:turn], answers[:turn], strict=True))
    passage = record["context"].removesuffix("CANNOTANSWER").strip()
    title, section = record["wikipedia_page_title"], record["section_title"]
    return _Mapped(
        instruction=f"Answer the last question from the passage. If it holds no answer, write: {NO_ANSWER}",
        input=f"Title: {title}\nSection: {section}\nPassage: {passage}\n{before}Question: {questions[turn]}",
        output=answers[turn],
    )


def _quac_dialogues(data: list[Any]) -> Iterator[Record]:
    """QuAC's original train_v0.2.json in the columns of its hub data set."""
    for article in data:
        for paragraph in article["paragraphs"]:
            yield {
                "wikipedia_page_title": article["title"],
                "section_title": article["section_title"],
                "context": paragraph["context"],
                "questions": [qa["question"] for qa in paragraph["qas"]],
                "answers": {"texts": [[answer["text"] for answer in qa["answers"]] for qa in paragraph["qas"]]},
            }


def _cnn_dailymail(record: Record, number: int, parameters: RecordParameters) -> _Mapped:
    return _Mapped(
        instruction="Summarise the news article in a few short sentences.",
        input=record["article"],
        output=record["highlights"],
    )


_AFTER_HASHES = re.compile(r"\n?^####[ \t]*[-+$\d][^\n]*$", re.MULTILINE)
"""GSM8K's bare number behind the worked answer."""


def _mathinstruct(record: Record, number: int, parameters: RecordParameters) -> _Mapped:
    part = record["source"]
    question = record["instruction"]
    if random.Random(f"math-{parameters.seed}-{number}").random() < parameters.lower_case_math:
        question = question.lower()
    name = part.removeprefix("data/").removesuffix(".json")
    return _Mapped(
        instruction=question,
        input="",
        output=_AFTER_HASHES.sub("", record["output"]),
        part=f"{MATHINSTRUCT}/{name}",
        licence=MATH_LICENCES.get(name, ""),
        llm_generated=part not in (*MATH_HUMAN_PARTS, *MATH_PROGRAMS),
        left_out="program" if part in MATH_PROGRAMS else "",
    )


_MAPPERS: Mapping[str, tuple[_Mapper, tuple[str, ...]]] = {
    LIMA: (_lima, ("conversations",)),
    PLATYPUS: (_platypus, ("instruction", "output", "data_source")),
    OPENBOOKQA: (_openbookqa, ("question_stem", "choices", "answerKey")),
    QUAC: (_quac, ("context", "questions", "answers", "wikipedia_page_title", "section_title")),
    CNN_DAILYMAIL: (_cnn_dailymail, ("article", "highlights")),
    MATHINSTRUCT: (_mathinstruct, ("source", "instruction", "output")),
}
"""Source -> its mapping, and the columns that tell it."""
