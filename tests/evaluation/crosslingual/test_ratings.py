import json
from pathlib import Path

import pytest

from evaluation.crosslingual.agreement import agreement, quadratic_kappa
from evaluation.crosslingual.criteria import UNREADABLE, Criterion, Scores
from evaluation.crosslingual.ratings import Rating, UnknownLanguage, averaged, read_ratings
from evaluation.errors import EvaluationError

LANGUAGE, HELPFULNESS = Criterion.LANGUAGE, Criterion.HELPFULNESS


def scores(**given: int | None) -> Scores:
    return UNREADABLE | {Criterion(name): score for name, score in given.items()}


def test_an_answer_in_the_wrong_language_counts_in_language_alone() -> None:
    rated = [scores(language=0, helpfulness=0), scores(language=2, helpfulness=2)]
    entered = [dict(averaged(s)) for s in rated]
    assert [s[LANGUAGE] for s in entered] == [0, 2]
    assert [s[HELPFULNESS] for s in entered if HELPFULNESS in s] == [2]


def test_code_switching_stays_and_an_open_criterion_is_named() -> None:
    assert dict(averaged(scores(language=1, helpfulness=0)))[HELPFULNESS] == 0
    assert dict(averaged(UNREADABLE)) == UNREADABLE
    assert dict(averaged(scores(language=0)))[HELPFULNESS] is None


def test_an_open_language_leaves_the_others_out_unless_asked_otherwise() -> None:
    unknown = scores(helpfulness=2)
    assert HELPFULNESS not in dict(averaged(unknown))
    assert dict(averaged(unknown, UnknownLanguage.AVERAGED))[HELPFULNESS] == 2


ROW: dict[str, object] = {"id": 3, "language": "fr", "arm": "dolly", "rater": "p1"}


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps({**ROW, **row}) + "\n" for row in rows))
    return path


def test_ratings_are_read_with_their_criteria(tmp_path: Path) -> None:
    row: dict[str, object] = {"Language": 1, "Logical coherence": 2, "helpfulness": None}
    (rating,) = read_ratings(write(tmp_path / "wide.jsonl", row))
    assert (rating.id, rating.language, rating.arm, rating.rater) == ("3", "fr", "dolly", "p1")
    assert rating.scores == scores(language=1, logical_coherence=2)
    rows: list[dict[str, object]] = [{"criterion": name, "score": score} for name, score in row.items()]
    assert read_ratings(write(tmp_path / "long.jsonl", *rows)) == [rating]


@pytest.mark.parametrize(
    "change",
    [{"helpfulness": 3}, {"helpfulness": "2"}, {"helpfulness": True}, {}, {"Language": 2, "language": 2},
     {"helpfulness": 1, "arm": None}, {"helpfulness": 1, "id": 1.5}, {"criterion": "style", "score": 1}],
)  # fmt: skip
def test_a_rating_beyond_the_scale_or_without_a_name_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"ratings\.jsonl: record 1"):
        read_ratings(write(tmp_path / "ratings.jsonl", change))


def test_a_second_rating_by_the_same_person_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"record 2 is the second that rates helpfulness"):
        read_ratings(write(tmp_path / "ratings.jsonl", {"helpfulness": 2}, {"helpfulness": 2}))


def rated(rater: str, values: list[int | None], language: str = "en") -> list[Rating]:
    return [
        Rating(id=str(n), language=language, arm="a", rater=rater, scores=scores(helpfulness=value))
        for n, value in enumerate(values)
    ]


HUMAN, JUDGE = [2, 2, 1, 0, 2, 1, 2, 2], [2, 1, 1, 1, 2, 2, 2, 2]


def test_agreement_of_a_small_table() -> None:
    found = {a.criterion: a for a in agreement(rated("judge", [*JUDGE]), rated("p1", [*HUMAN]))}[HELPFULNESS]
    assert (found.group, found.num, found.num_open) == ("en", 8, 0)
    assert found.exact == 0.625
    assert found.kappa == pytest.approx(0.5)
    assert found.percent[1][0] == 12.5
    assert found.percent[0][1] == 0
    assert sum(map(sum, found.percent)) == 100


def test_a_transposed_input_is_another_table() -> None:
    there = agreement(rated("judge", [*JUDGE]), rated("p1", [*HUMAN]))
    back = agreement(rated("judge", [*HUMAN]), rated("p1", [*JUDGE]))
    assert [a.percent for a in there] != [a.percent for a in back]


def test_a_rater_with_one_label_has_no_kappa() -> None:
    assert quadratic_kappa([[0, 0, 0], [0, 0, 0], [1, 1, 6]]) is None
    found = {a.criterion: a for a in agreement(rated("judge", [2, 2]), rated("p1", [2, 1]))}
    assert found[HELPFULNESS].kappa is None
    assert found[HELPFULNESS].exact == 0.5
    assert found[LANGUAGE].exact is None


def test_open_scores_are_counted_and_languages_kept_apart() -> None:
    judge = rated("judge", [2, None]) + rated("judge", [0, 1], "fr")
    people = rated("p1", [2, 2]) + rated("p1", [0, 1], "fr") + rated("p2", [0, 0], "fr")
    found = {(a.group, a.criterion): a for a in agreement(judge, people)}
    assert (found["en", HELPFULNESS].num, found["en", HELPFULNESS].num_open) == (1, 1)
    assert found["non_en", HELPFULNESS].num == 4
    assert found["non_en", HELPFULNESS].exact == 0.75


def test_kappa_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn, the reference, is not installed")
    counts = [[sum((j, h) == (x, y) for j, h in zip(JUDGE, HUMAN, strict=True)) for y in range(3)] for x in range(3)]
    assert quadratic_kappa(counts) == pytest.approx(metrics.cohen_kappa_score(JUDGE, HUMAN, weights="quadratic"))
