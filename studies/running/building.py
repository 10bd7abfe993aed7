"""Builds what the stages train on: rows by curation's builders, then a mix with a validation part.

    mixes = build_data(study, arms, folder=Path("runs/finnish"), on_progress=print)
    mixes[key].path, mixes[key].sha256

Where it sits: study -> **building** -> identities, trainings.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from core.encoding.rendering import Loss
from core.errors import OnedayError
from core.files import read_jsonl, write_jsonl
from core.model.token_counter import TokenCounter
from core.stage import locked
from curation.builders.build import build
from curation.builders.registry import parse_options
from harness.base_model import find_model
from harness.data.own_mix import TRAIN, VALIDATION, OwnMixParameters, own_mix
from harness.data.share import DataFile
from harness.data.template import Template
from studies.arm import ResolvedArm
from studies.data import Curated, Feedback, LanguageUniform, Mixture, NestedMix, Preferences, Rows
from studies.errors import StudyError
from studies.identity import data_key
from studies.running.choosing import chosen_mix
from studies.stage import Kind, Stage
from studies.study import Study

DATA, TABLE = "data", "table.jsonl"
WITHIN, LONG = "within.jsonl", "dropped.jsonl"
"""Pairs whose prompts are short enough, and the others with their reason."""

Call: TypeAlias = tuple[str, Mapping[str, object]]
"""Name of a builder of curation, and its options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What one stage trains on."""

    path: Path
    """A folder with train.jsonl and validation.jsonl."""
    sha256: str
    """Of the rows of both, in order."""


def build_data(
    study: Study, arms: Mapping[str, ResolvedArm], *, folder: Path, on_progress: Callable[[str], None]
) -> dict[str, Mix]:
    """The mixes of all stages, by `data_key`. What asks the base, and was built before, is not built again.

    Raises:
        OnedayError: a source is missing, has another number of rows than declared, or holds nothing to train on.
    """
    found: dict[str, Mix] = {}
    for arm in arms.values():
        for stage in arm.stages.values():
            key = data_key(stage, study, seed=arm.seed, template=arm.template)
            if key not in found:
                on_progress(f"data of {stage.name} for {arm.name}")
                found[key] = _build(study, stage, arm, folder / DATA / key[:16], on_progress)
    return found


def _build(
    study: Study, stage: Stage, arm: ResolvedArm, folder: Path, on_progress: Callable[[str], None]
) -> Mix:  # fmt: skip
    seed = arm.seed
    for name in stage.data.names():
        path = study.path(study.sources[name].path)
        if not path.exists():
            raise StudyError(
                f"sources.{name}.path: {path} does not exist. Put the data there, or name another `data_folder={path}`."
            )
    sources = [study.path(study.sources[name].path) for name in stage.data.names()]
    if isinstance(stage.data, Rows) and is_mix(sources[0]):
        return _ready(sources[0], stage, arm)
    if isinstance(stage.data, Curated):
        base = find_model(study.base)
        mix = chosen_mix(
            stage.data, tasks=sources[0], base=base, folder=folder, held_out_seed=study.seed, seed=seed,
            on_progress=on_progress,
        )  # fmt: skip
        return _ready(mix, stage, arm)
    rows = sources[0] if isinstance(stage.data, Rows) else _built_rows(study, stage, arm, folder)
    loss = stage.settings().get("loss")
    parameters = OwnMixParameters(
        seed=seed,
        loss=Loss(loss) if loss else Loss.RESPONSES,
        template=Template(arm.template),
        pairs=stage.kind is Kind.DPO,
    )
    with locked(folder):
        mix = own_mix(folder, [DataFile.parse(str(rows))], parameters, redo=True).path("")
    return Mix(path=mix, sha256=_sha256(mix))


def _ready(mix: Path, stage: Stage, arm: ResolvedArm) -> Mix:
    """A mix that is trained on as it stands.

    Raises:
        StudyError: the stage or the arm asks for another loss or template than the rows have.
    """
    row = next(read_jsonl(mix / TRAIN), {})
    is_prompted = "instruction" in row
    if stage.loss not in (None, Loss.ALL if "text" in row else Loss.RESPONSES):
        raise StudyError(
            f"{stage.name}.loss: {stage.loss}: the rows of {mix} say themselves which tokens count. Take it away for "
            f"{arm.name}, or give the rows as a file of examples."
        )
    if arm.template == Template.CHAT and is_prompted:
        raise StudyError(
            f"template: chat: the rows of {mix} are instructions, which train in the Alpaca prompt. Give {arm.name} "
            "template: auto, or the rows as a file of examples."
        )
    return Mix(path=mix, sha256=_sha256(mix))


def is_mix(path: Path) -> bool:
    """Whether a folder holds a mix."""
    return (path / TRAIN).is_file() and (path / VALIDATION).is_file()


def _sha256(mix: Path) -> str:
    """Of the rows in order, without the place that they were read from."""
    found = hashlib.sha256()
    for name in (TRAIN, VALIDATION):
        for row in read_jsonl(mix / name):
            row.pop("origin", None)
            found.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
        found.update(b"\n")
    return found.hexdigest()


def _built_rows(study: Study, stage: Stage, arm: ResolvedArm, folder: Path) -> Path:
    """The rows of a builder, as one file."""
    builder, options = builder_call(study, stage, arm.seed, folder)
    if isinstance(stage.data, LanguageUniform) and stage.data.unit == "tokens":
        options = {**options, "tokenizer": str(find_model(study.base))}
    try:
        built = build(builder, parse_options(builder, options), folder / "rows", redo=True)
    except OnedayError as e:
        raise StudyError(f"{stage.name}.data: {e}") from e
    (file,) = built.files.values()
    limit = stage.max_prompt_tokens
    return file.path if limit is None else _within(file.path, limit, find_model(study.base), folder)


def _within(pairs: Path, limit: int, base: Path, folder: Path) -> Path:
    """The pairs whose prompts have at most `limit` tokens, without the chat template; the others with their reason."""
    counter, kept, dropped = TokenCounter.load(base), list[dict[str, Any]](), list[dict[str, object]]()
    for number, row in enumerate(read_jsonl(pairs), start=1):
        length = sum(counter.count([message["content"] for message in row["prompt"]]))
        if length <= limit:
            kept.append(row)
        else:
            detail, name = f"{length} tokens, limit {limit}", str(row.get("id") or f"line-{number}")
            dropped.append({"unit": "pair", "id": name, "reason": "prompt_too_long", "detail": detail})
    if not kept:
        raise StudyError(f"max_prompt_tokens: {limit}: all {len(dropped)} prompts of {pairs} are longer. Raise it.")
    write_jsonl(folder / LONG, dropped)
    write_jsonl(folder / WITHIN, kept)
    return folder / WITHIN


def builder_call(study: Study, stage: Stage, seed: int, folder: Path) -> Call:
    """The builder of curation that makes these rows. A mixture's table is written for it."""

    def path(name: str) -> str:
        return f"{name}={study.path(study.sources[name].path).absolute()}"

    match stage.data:
        case NestedMix(whole=whole, nested=nested, percent=percent):
            return "mix", {"base": path(whole), "added": path(nested), "percent": [percent], "seed": seed}
        case LanguageUniform(sources=names, unit=unit, rows=rows):
            return "uniform", {"data": [*map(path, names)], "unit": unit, "size": rows, "seed": seed}
        case Feedback(source=name):
            return "feedback", {"data": path(name)}
        case Preferences(sources=(name,), pairs=pairs, score=score) if pairs != "given":
            return "preferences", {"data": path(name), "pairing": pairs, "score": score}
        case Mixture(sources=names) | Preferences(sources=names) | Rows(source=names):
            listed = (names,) if isinstance(names, str) else names
            write_jsonl(folder / TABLE, _table(study, listed))
            return "table", {"table": str(folder / TABLE)}
    raise AssertionError(f"no builder for {stage.data}")


def _table(study: Study, names: tuple[str, ...]) -> Iterator[dict[str, object]]:
    for name in names:
        source = study.sources[name]
        yield {
            "name": name,
            "path": str(study.path(source.path).absolute()),
            "expected_count": source.rows,
            "licence": source.licence,
            "prompts_from": source.prompts_from,
            "llm_generated": "yes" if source.llm_generated else "no",
        }
