"""The four shipped studies, small and real: a real small model, real data, every stage, on a CPU.

    python -m benchmarks.real.studies finnish --data shared/data --base gemma3-270m --run runs/studies/finnish
    python -m benchmarks.real.studies birbal --data shared/data --base smollm2-135m --mix runs/real/05_mix --run ...
    ... --dry-run                                                # only what would be trained

Each is the shipped YAML with fewer rows, items and steps, LoRA in place of all weights, and one base: arms that differ
from another one by their base alone are left out. Data that is not at hand is replaced. The study prints all of that as
deviations. At this size it shows that the machinery works on real data, and ranks nothing.

The data are written beside the run, and then `oneday study` runs; the same command goes on after a kill.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.files import make_folder, read_jsonl, write_jsonl, write_text
from oneday.cli.main import main as oneday
from studies.arm import resolve_arms
from studies.deviations import UNDECLARED, deviations
from studies.document import read_document, with_changes
from studies.study import find_study, read_study

SMALL = "fits two cores in an hour or two"
LENGTH = 500
"""Most characters of a conversation: a row then fits the short sequences."""
SPEEDS = {"parameters": 1.4e8, "tokens_per_s": 40, "new_tokens_per_s": 5, "start_s": 60}
"""Of one core, for the estimates before the first rehearsal."""


@dataclass(frozen=True, kw_only=True)
class Small:
    """What makes a shipped study small."""

    changes: Mapping[str, object]
    without: Sequence[str]
    """Arms that are left out."""
    files: Callable[["Data"], Mapping[str, int]]
    """Writes sources and items; returns the rows of each source."""
    replaced: Mapping[str, str]
    """What is replaced -> by what."""
    beside: Sequence[str] = ()
    """Deviations of the shipped study that do not hold here."""


class Data:
    """Reads the public data, and writes a part of it below a folder."""

    def __init__(self, public: Path, folder: Path, mix: Path | None) -> None:
        self.public, self.folder, self.mix = public, folder, mix

    def lines(self, name: str) -> Iterator[Any]:
        """The records of a file of JSON lines, compressed or not."""
        path = self.public / name
        whole = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        yield from (json.loads(line) for line in whole.decode().split("\n") if line.strip())

    def write(self, name: str, rows: Sequence[Mapping[str, object]]) -> int:
        """Writes JSON lines; returns their number."""
        make_folder((self.folder / name).parent)
        write_jsonl(self.folder / name, rows)
        return len(rows)

    def copy(self, name: str, num: int) -> int:
        """The first records of a file."""
        return self.write(name.removesuffix(".gz"), [row for row, _ in zip(self.lines(name), range(num), strict=False)])

    def first_of(self, name: str, num: int) -> None:
        """The first entries of a JSON object."""
        found = json.loads((self.public / name).read_text(encoding="utf-8"))
        write_text(self.folder / name, json.dumps(dict(list(found.items())[:num]), ensure_ascii=False))

    def dolly(self, language: str, num: int) -> list[dict[str, object]]:
        """Short rows of Dolly as conversations; the same rows in each language."""
        found = []
        for row in self.lines("finnish/dolly_en_fi.jsonl.gz"):
            texts = [
                [row[code][key].strip() for key in ("instruction", "context", "response")] for code in ("en", "fi")
            ]
            if all(sum(map(len, text)) < LENGTH and text[0] and text[2] for text in texts):
                instruction, context, response = texts[0 if language == "en" else 1]
                found.append(conversation(row["id"], "\n\n".join(filter(None, (instruction, context))), response))
        return found[:num]


def conversation(name: str, prompt: str, answer: str) -> dict[str, object]:
    """One turn of each side."""
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"id": name, "messages": turns}


def _finnish(data: Data) -> Mapping[str, int]:
    rows = {f"sft-{code}": data.write(f"finnish/sft_{code}.jsonl", data.dolly(code, 40)) for code in ("en", "fi")}
    short = [
        pair
        for pair in data.lines("finnish/oasst1_validation_pairs.jsonl.gz")
        if all(
            sum(len(turn["content"]) for turn in pair[code]["prompt"]) + len(pair[code][side]) < LENGTH
            for code in ("en", "fi")
            for side in ("chosen", "rejected")
        )
        and all(pair[code]["chosen"].split() != pair[code]["rejected"].split() for code in ("en", "fi"))
    ][:16]
    for code in ("en", "fi"):
        pairs = [
            {"id": pair["id"], **{key: pair[code][key] for key in ("prompt", "chosen", "rejected")}} for pair in short
        ]
        rows[f"pairs-{code}"] = data.write(f"finnish/pairs_{code}.jsonl", pairs)
    data.copy("ifeval/input_data.jsonl", 8)
    return rows


def _transfer(data: Data) -> Mapping[str, int]:
    rows = {f"dolly-{code}": data.write(f"dolly/{code}.jsonl", data.dolly(code, 60)) for code in ("en", "fi")}
    lima = [row for row in data.lines("lima/lima.en.jsonl") if sum(map(len, row["conversations"])) < 2 * LENGTH]
    rows["lima-en"] = data.write("lima/lima.en.jsonl", lima[:60])
    for code in ("en", "fr", "pt", "ru"):
        data.copy(f"crosslingual/alpacaeval_test_subset.{code}.jsonl", 4)
        data.copy(f"crosslingual/modifiers.{code}.jsonl", 4)
        types = (data.public / f"crosslingual/modifiers.{code}.types").read_text(encoding="utf-8").splitlines()
        write_text(data.folder / f"crosslingual/modifiers.{code}.types", "\n".join(types[:4]) + "\n")
    prompt = (data.public / "crosslingual/judge_prompt.txt").read_text(encoding="utf-8")
    write_text(data.folder / "crosslingual/judge_prompt.txt", prompt)
    return rows


def _taiwan(data: Data) -> Mapping[str, int]:
    with gzip.open(data.public / "tc_eval/DRCD_test.json.gz", "rt", encoding="utf-8") as file:
        drcd = json.load(file)
    passages = [p["context"] for entry in drcd["data"] for p in entry["paragraphs"]]
    rows = {
        "knowledge-base": data.write("taiwan/knowledge_base.jsonl", [{"text": t[:LENGTH]} for t in passages[50:90]])
    }
    rows["dolly"] = data.write("taiwan/dolly.jsonl", data.dolly("en", 30))
    questions = {row["question_id"]: row["question"] for row in data.lines("zh_tw_bench/questions.jsonl")}
    answers = list(data.lines("zh_tw_bench/answers.jsonl.gz"))
    models = sorted({row["model"] for row in answers})
    chats = {
        model: [
            conversation(f"{model}-{row['question_id']}", questions[row["question_id"]], row["answer"][:LENGTH])
            for row in answers
            if row["model"] == model and row["answer"].strip()
        ]
        for model in models
    }
    rows["taiwan-instruction"] = data.write("taiwan/taiwan_instruction.jsonl", chats[models[0]][:30])
    rated = [{**chat, "rating": int(good)} for good in (True, False) for chat in chats[models[good]][30:50]]
    data.write("taiwan/feedback.jsonl", [{"id": row["id"], "messages": _rated(row)} for row in rated])
    rows["user-feedback"] = sum(bool(row["rating"]) for row in rated)
    drcd["data"] = drcd["data"][:2]
    write_text(data.folder / "tc_eval/DRCD_test.json", json.dumps(drcd, ensure_ascii=False))
    data.first_of("tc_eval/TTQA_mc.json", 16)
    data.first_of("tc_eval/PenguinsInTable_TC.json", 8)
    return rows


def _rated(row: Mapping[str, Any]) -> list[dict[str, object]]:
    user, assistant = row["messages"]
    return [user, {**assistant, "rating": row["rating"]}]


def _birbal(data: Data) -> Mapping[str, int]:
    if data.mix is None:
        sys.exit("birbal: `--mix` is missing. Give the 05_mix of a curation, for example of `make real`.")
    train, validation = (list(read_jsonl(data.mix / f"{part}.jsonl")) for part in ("train", "validation"))
    rows = {}
    for name, share in (("200k", 206 / 709), ("400k", 389 / 709), ("700k", 1.0)):
        rows[f"mix-{name}"] = data.write(f"{name}/05_mix/train.jsonl", train[: round(share * min(len(train), 180))])
        data.write(f"{name}/05_mix/validation.jsonl", validation[:16])
    data.copy("ifeval/input_data.jsonl", 12)
    return rows


def _lora(*stages: str, steps: int | None, length: int) -> dict[str, object]:
    """LoRA in place of all weights, small updates, `steps` of them or the declared epochs."""
    found: dict[str, object] = {}
    for stage in stages:
        found |= {
            f"{stage}.weights": "lora", f"{stage}.optimizer": "adamw_torch", f"{stage}.micro_batch_size": 1,
            f"{stage}.gradient_accumulation_steps": 2, f"{stage}.sequence_len": length, f"{stage}.eval_steps": 1_000,
        }  # fmt: skip
        if steps:
            found |= {f"{stage}.max_steps": steps, f"{stage}.num_epochs": None}
    return found


STUDIES: Mapping[str, Small] = {
    "birbal": Small(
        changes={
            **_lora("sft", steps=None, length=512), "sft.lora_r": 16, "sft.lora_alpha": 32, "sft.learning_rate": 5.0e-4,
            "sft.warmup_steps": 4, "sft.axolotl": {"neftune_mode": "birbal"},
            "suites.ifeval.generation.max_new_tokens": 48, "suites.ifeval.num_items": 12,
        },
        without=(), files=_birbal,
        replaced={"mixes": "one curated mix of Natural Instructions in three sizes, by the proportions of table 1"},
    ),
    "finnish": Small(
        changes={
            **_lora("sft", "dpo", steps=4, length=256), "sft.learning_rate": 3.0e-4, "dpo.learning_rate": 1.0e-4,
            "suites.ifeval.generation.max_new_tokens": 32, "suites.ifeval.num_items": 8,
            "suites.ifeval-fi.generation.max_new_tokens": 32, "suites.ifeval-fi.num_items": 8,
            "selection": {"metrics": ["ifeval.instruction_strict"]},
        },
        without=("en-fi-20pct", "en-fi-40pct", "en-fi-60pct", "en-fi-80pct"), files=_finnish,
        replaced={
            "instructions": "Dolly in English and in Finnish by DeepL; OASST2's are not here",
            "pairs": "best against worst answers of OASST1's validation split; HelpSteer2 is not here",
            "selection": "IFEval in English alone: its Finnish prompts are not here",
            "optimizer": "AdamW",
        },
        beside=("GPUs",),
    ),
    "transfer": Small(
        changes={
            **_lora("sft", steps=4, length=256), "sft.learning_rate": 3.0e-4, "sweep.values": [3.0e-5, 3.0e-4, 3.0e-3],
            "suites.crosslingual.generation.max_new_tokens": 32, "suites.crosslingual.num_items": 4,
            "suites.modifiers.generation.max_new_tokens": 32, "suites.modifiers.num_items": 4,
            "suites.crosslingual.scores": ["language", "spelling"],
            "selection": {"metrics": ["language.accuracy"], "languages": ["en", "fr", "pt", "ru"], "tie": "smaller"},
        },
        without=("13b-dolly-en-lora", "7b-dolly-en", "tower-dolly-en", "tower-dolly-dt"), files=_transfer,
        replaced={
            "Dolly in French, Portuguese and Russian": "Dolly in Finnish: the others are not here",
            "judges": "none: no model of their size runs here",
        },
        beside=("learning rates of LoRA", "base models in the published files", "DT files in the published files"),
    ),
    "taiwan": Small(
        changes={
            **_lora("cpt", "sft", "feedback", steps=4, length=256), "cpt.learning_rate": 2.0e-4,
            "sft.learning_rate": 3.0e-4, "feedback.learning_rate": 1.0e-4,
            "cpt.data.sources": ["knowledge-base"], "sft.data.sources": ["dolly", "taiwan-instruction"],
            **{f"suites.{name}.generation.max_new_tokens": 16 for name in ("drcd", "ttqa", "penguins")},
            "suites.drcd.num_items": 10, "suites.ttqa.num_items": 16, "suites.penguins.num_items": 8,
        },
        without=("13b-common-crawl", "7b", "7b-common-crawl"), files=_taiwan,
        replaced={
            "corpus of cpt": "passages of DRCD, which is Traditional Chinese from Wikipedia",
            "instructions": "Dolly in English, and the answers of a model to the questions of zh_tw_bench",
            "feedback": "answers of two models to zh_tw_bench, one taken as liked and the other as not",
            "learning rate of cpt and feedback": "2e-4 and 1e-4",
            "epochs": "four steps a stage",
            "suites": "DRCD, TTQA and the penguins; the references of the others are not here, or they are long",
        },
        beside=("size of CommonCrawl", "feedback rows", "data", "average of TMMLU"),
    ),
}  # fmt: skip


def small_document(name: str, data: Data, base: Path) -> dict[str, Any]:
    """The study's document, with its data written."""
    small, path = STUDIES[name], find_study(Path(name))
    shipped = read_document(path)
    shipped.pop("presets", None)
    rows = small.files(data)
    for arm in small.without:
        shipped["arms"].pop(arm)
    arms = {arm: {**values, "changes": _one_base(values)} for arm, values in shipped["arms"].items()}
    suites = {key: s for key, s in shipped["suites"].items() if name != "taiwan" or key in ("drcd", "ttqa", "penguins")}
    scores = {score for key, suite in suites.items() for score in _scores(small, key, suite)}
    paper = shipped["paper"]
    lost = tuple(f"arms.{arm}." for arm in small.without)
    here = tuple(f"sources.{source}." for source in rows)
    settings = {
        key: value
        for key, value in paper["settings"].items()
        if not key.startswith(lost) and (key.startswith(here) or not key.startswith("sources."))
    }
    changed = with_changes(
        {
            **shipped, "arms": arms, "suites": suites, "base": str(base), "card": "cpu", "budget": "6h",
            "data_folder": str(data.folder), "models": {str(base): SPEEDS},
            "paper": {
                **paper, "file": str(data.public / paper["file"]),
                "settings": settings,
                "rows": {arm: row for arm, row in paper["rows"].items() if arm in arms},
                "columns": {
                    metric: column
                    for metric, column in paper.get("columns", {}).items()
                    if metric.partition(".")[0] in scores
                },
            },
        },
        {key: value for key, value in small.changes.items() if "." not in key}, where=name,
    )  # fmt: skip
    if "sweep" in changed:
        changed["sweep"].pop("values_of", None)
    changed["sources"] = _sources(changed["sources"], rows)
    gone = (*small.beside, *small.replaced, *settings)
    replaced = {**small.replaced, "machine": "a CPU"}
    if small.without:
        replaced["arms"] = f"without {', '.join(small.without)}"
    changed["deviations"] = [
        *(
            d
            for d in changed["deviations"]
            if d["what"] not in gone and not d["what"].startswith(("arms.", "sources."))
        ),
        *({"what": what, "here": by, "why": SMALL} for what, by in replaced.items()),
    ]
    return changed


def _scores(small: Small, name: str, suite: Mapping[str, Any]) -> Sequence[str]:
    changed: Any = small.changes.get(f"suites.{name}.scores", suite["scores"])
    return list(changed)


def _one_base(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arm.get("changes", {}).items() if key != "base"}


def _sources(shipped: Mapping[str, Any], rows: Mapping[str, int]) -> dict[str, Any]:
    """Those that have rows here."""
    plain = {"path": "", "tokens": 120}
    found = {name: {**plain, **shipped.get(name, {}), "rows": num} for name, num in rows.items()}
    if "dolly-fi" in found:
        found["dolly-fi"] |= {"path": "dolly/fi.jsonl", "licence": "CC BY-SA 3.0", "prompts_from": "dolly-en"}
    return found


def write_small(name: str, data: Data, base: Path) -> Path:
    """Writes the YAML, with a reason for every value that differs from the paper's."""
    document = small_document(name, data, base)
    if name == "transfer":
        document["arms"]["13b-dolly-dt"]["changes"] = {
            "sft.data": {"build": "language-uniform", "sources": ["dolly-en", "dolly-fi"]}
        }
    path = data.folder / f"{name}.yml"
    write_text(path, yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
    changes = {key: value for key, value in STUDIES[name].changes.items() if "." in key}
    study = read_study(path, changes=changes)
    known = {line.what for line in study.deviations}
    found = [d.what for d in deviations(study, resolve_arms(study)) if d.why == UNDECLARED and d.what not in known]
    document["deviations"] += [{"what": what, "why": SMALL} for what in found]
    stages = {
        stage.name: stage.model_dump(mode="json", exclude_none=True, exclude_unset=True) for stage in study.stages
    }
    document["stages"] = list(stages.values())
    document["suites"] = {k: s.model_dump(mode="json", exclude_unset=True) for k, s in study.suites.items()}
    if study.sweep:
        document["sweep"] = study.sweep.model_dump(mode="json", exclude_unset=True)
    write_text(path, yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
    return path


def main() -> None:
    """Writes the data and the YAML, and runs `oneday study`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", choices=STUDIES)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--base", type=Path, required=True, help="folder of the model")
    parser.add_argument("--mix", type=Path, help="of birbal: a folder with train.jsonl and validation.jsonl")
    parser.add_argument("--run", type=Path, required=True, help="folder of the study")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    folder = options.run.with_name(f"{options.run.name}-data").absolute()
    path = write_small(options.name, Data(options.data.absolute(), folder, options.mix), options.base.absolute())
    oneday(["study", str(path), "--run", str(options.run), *(["--dry-run"] if options.dry_run else [])])


if __name__ == "__main__":
    main()
