"""Tasks in other languages: which are taken, how they are typed, asked and scored, and what their rows say."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import MixError, OnedayError
from core.files import read_json, read_jsonl, write_jsonl
from core.generation.request import Answer, Kind, Request
from core.text import pieces
from curation.curate import curate
from curation.mix import MixParameters
from curation.ni.kind import Rule, kind_of
from curation.ni.select import SelectionRules, judge
from curation.ni.task import read_task
from curation.policies.duplicate import signature
from curation.policies.policy import PolicyParameters, degenerate
from curation.sources.own_data import OWN_TASKS, own_stage
from oneday.commands.curate import curation_parameters
from oneday.requests.curation import CurateRequest
from tests.curation.test_curate import Oracle, curation, rows

LANGUAGES = Path(__file__).parents[1] / "data" / "languages"


def names(language: str) -> list[str]:
    rules = SelectionRules(language=language, categories=SelectionRules().categories)
    tasks = (read_task(path).task for path in sorted(LANGUAGES.glob("*.json")))
    return [task.name for task in tasks if judge(task, rules).keep]


def test_a_task_is_in_a_language_by_its_inputs_and_outputs_and_may_be_explained_in_english() -> None:
    assert names("fi") == names("Finnish") == names("FIN") == ["task11_fi_opposite", "task12_fi_sentence"]
    assert names("de") == ["task14_de_title"]
    assert names("zh-TW") == ["task15_zh_sentiment"]
    assert names("English") == []  # the translation is in two languages
    assert names("sv") == []


@pytest.mark.parametrize(
    ("name", "kind", "rule"),
    [
        ("task11_fi_opposite", Kind.EXACT_MATCH, Rule.ONE_WORD),
        ("task12_fi_sentence", Kind.GENERATION, Rule.NONE),
        ("task14_de_title", Kind.GENERATION, Rule.NONE),  # its nouns are written like names
        ("task15_zh_sentiment", Kind.EXACT_MATCH, Rule.IN_DEFINITION),
    ],
)
def test_kinds_in_other_languages(name: str, kind: Kind, rule: Rule) -> None:
    found = kind_of(read_task(LANGUAGES / f"{name}.json").task)
    assert (found.kind, found.rule) == (kind, rule)


class Written(Oracle):
    """Answers as people write: another case, other spaces, a full stop. Wrong on every third instance."""

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        super().complete(requests)
        return ["ei" if int(r.id.split("-")[1]) % 3 == 0 else f" {r.references[0].upper()}." for r in requests]


def finnish(tmp_path: Path, predictor: Oracle) -> Path:
    parameters = curation_parameters(CurateRequest(language="Finnish"))
    return curate(
        curation(
            tmp_path, tasks=LANGUAGES, predictor=predictor, rules=parameters.rules, scale=1.0,
            policies=replace(parameters.policies, max_tokens=None),
            split=MixParameters(validation_rows=1),
        )
    )  # fmt: skip


def test_finnish_tasks_walk_from_their_files_to_rows(tmp_path: Path) -> None:
    predictor = Written()
    mix = finnish(tmp_path, predictor)
    assert {row["task"] for row in rows(mix)} == {"task11_fi_opposite", "task12_fi_sentence"}
    assert {row["language"] for row in rows(mix)} == {"fi"}
    wrong = {row["id"] for row in rows(mix)}
    assert {f"task11-{n}" for n in (0, 3, 6, 9)} == {name for name in wrong if name.startswith("task11")}
    assert [p for p in predictor.prompts if "### Input:\nmärkä\n\n### Response:\n" in p and "päivä" in p]
    dropped = read_jsonl(mix.parent / "01_tasks" / "dropped.jsonl")
    assert {row["id"]: row["detail"] for row in dropped if row["reason"] == "language"} == {
        "task13_en_fi_translate": "English, Finnish",
        "task14_de_title": "German",
        "task15_zh_sentiment": "Chinese",
    }
    assert read_json(mix / "manifest.json")["parameters"]["rules"]["language"] == "Finnish"
    assert read_json(mix / "manifest.json")["parameters"]["policies"]["language"] == "fi"


def test_rows_whose_task_declares_another_language_are_dropped(tmp_path: Path) -> None:
    with pytest.raises(MixError, match=r"ni_exact_match: 8 already_solved, 4 language"):
        curate(
            curation(
                tmp_path, tasks=LANGUAGES, predictor=Written(), rules=SelectionRules(language="Finnish"),
                policies=PolicyParameters(max_tokens=None, language="en"),
            )
        )  # fmt: skip


def test_own_rows_that_name_no_language_are_in_the_language_that_is_curated(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    write_jsonl(path, [{"instruction": f"Kerro luku {n}.", "output": f"luku {n}"} for n in range(4)])
    stage = own_stage(tmp_path / "run", [path], seed=1, redo=False, take_all=True, language="fi")
    [task] = [read_task(p).task for p in stage.path(OWN_TASKS).glob("*.json")]
    assert task.text_languages == ("Finnish",)
    assert judge(task, SelectionRules(language="fi")).keep


def test_a_language_that_does_not_exist_is_refused() -> None:
    with pytest.raises(OnedayError, match="`language=Klingonese`: not a language"):
        curation_parameters(CurateRequest(language="Klingonese"))


def test_texts_without_spaces_are_divided_into_characters() -> None:
    assert pieces("晚安，world 。") == ["晚", "安", "，world", "。"]
    assert pieces("ei  mitään") == ["ei", "mitään"]
    assert degenerate("哈" * 40).startswith("one piece")
    assert degenerate("".join(chr(0x4E00 + n) for n in range(40))) == ""
    a, b = "今天天气很好我们一起去公园散步吧", "昨天下雨所以大家都在家里看书写字"
    assert signature(a, "x", "") != signature(b, "x", "")
