import random
from pathlib import Path
from typing import Any

import pytest

from core.files import sha256
from evaluation.errors import EvaluationError
from evaluation.join import Joined, join
from evaluation.responses import Response, read_responses, write_responses
from tests.evaluation.capitals import ANSWERS, Capital, Capitals, capital, recorded, three, write

FINLAND = "What is the capital of Finland?"


def joined(path: Path, rows: list[Any], *, partial: bool = False) -> Joined[Capital]:
    return join(three(), read_responses(write(path / "r", rows)), partial=partial)


def texts(found: Joined[Capital]) -> list[tuple[str, str]]:
    return [(item.country, response.text) for item, response in found.pairs]


def contract(identity: str, response: str, **more: Any) -> dict[str, Any]:
    return {"suite": "capitals/europe", "language": "en", "id": identity, "response": response, **more}


def test_rows_are_found_by_suite_language_and_id(tmp_path: Path) -> None:
    found = joined(tmp_path, ANSWERS)
    assert texts(found) == [("Finland", "Helsinki, or so"), ("France", "Lyon"), ("Japan", "Tokyo")]
    assert (found.missing, found.unexpected, found.other_prompts) == ((), (), ())


def test_the_order_of_lines_changes_nothing(tmp_path: Path) -> None:
    rows = list(ANSWERS)
    random.Random(3).shuffle(rows)
    assert texts(joined(tmp_path, rows)) == texts(joined(tmp_path, list(reversed(rows))))


def test_rows_of_other_suites_are_passed_over(tmp_path: Path) -> None:
    found = joined(tmp_path, [{"task": "DRCD", "id": "0", "response": "x"}, *ANSWERS])
    assert texts(found)[0] == ("Finland", "Helsinki, or so")
    assert found.unexpected == ()


def test_a_file_of_another_suite_is_refused_and_says_what_it_holds(tmp_path: Path) -> None:
    rows = [{"task": f"TMMLU/{n}", "id": "0", "response": "x"} for n in range(3)]
    rows.append({"suite": "capitals", "language": "fi", "id": "0", "response": "x"})
    with pytest.raises(EvaluationError, match=r"no response of capitals .* holds TMMLU \(3\), capitals in fi \(1\)"):
        joined(tmp_path, rows)


def test_an_id_that_the_suite_does_not_have_is_counted(tmp_path: Path) -> None:
    found = joined(tmp_path, [*ANSWERS, recorded("asia", "9", "Atlantis")])
    assert found.unexpected == ("World_Capitals/asia 9",)
    assert len(found.pairs) == 3


def test_two_rows_for_one_item_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"lines 1 and 4 both answer capitals/asia 0\. Remove one"):
        joined(tmp_path, [*ANSWERS, ANSWERS[0]])


def test_a_missing_item_is_an_error_that_names_it_or_counts_as_failed(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"for 1 of 3 items of capitals: capitals/asia 0\..*partial=true"):
        joined(tmp_path, ANSWERS[1:])
    found = joined(tmp_path, ANSWERS[1:], partial=True)
    assert found.missing == ("capitals/asia 0",)
    assert texts(found)[2] == ("Japan", "")


def test_renamed_ids_name_both_what_is_missing_and_what_is_there(tmp_path: Path) -> None:
    rows = [{**row, "id": f"q{row['id']}"} for row in ANSWERS]
    with pytest.raises(EvaluationError, match=r"3 of 3 items .*: capitals/europe 0, .* 3 ids that the suite does not"):
        joined(tmp_path, rows)


def test_a_prompt_identifies_a_row_without_id(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is the capital of {c}?", "response": c} for c in ("Japan", "France", "Finland")]
    assert texts(joined(tmp_path, rows)) == [(c, c) for c in ("Finland", "France", "Japan")]


def test_a_prompt_that_two_items_share_is_no_identity(tmp_path: Path) -> None:
    suite = Capitals([*three().items(), capital("africa", "0", "France", "")])
    path = write(tmp_path / "r", [{"prompt": "What is the capital of France?", "response": "Paris"}])
    with pytest.raises(EvaluationError, match=r"2 items of capitals have the prompt of this row"):
        join(suite, read_responses(path))


def test_an_older_wording_of_a_recorded_prompt_is_counted(tmp_path: Path) -> None:
    items = [Capital(suite="capitals", language="en", id=str(n), country=f"C{n}", capital="") for n in range(20)]
    suite = Capitals(items)
    rows = [{"key": n, "prompt": f"What is the capital of C{n}?", "response": ""} for n in range(20)]
    rows[4]["prompt"] = "An older wording?"
    assert join(suite, read_responses(write(tmp_path / "r", rows))).other_prompts == ("4",)
    for row in rows[:3]:
        row["prompt"] = "Another one?"
    with pytest.raises(EvaluationError, match=r"4 of 20 prompts differ from those of capitals \(first: 0, 1, 2, 4\)"):
        join(suite, read_responses(write(tmp_path / "r", rows)))


def test_another_prompt_in_a_row_of_the_contract_is_refused(tmp_path: Path) -> None:
    rest = [contract("1", ""), {**contract("0", ""), "suite": "capitals/asia"}]
    same = [{"role": "user", "content": FINLAND}]
    assert joined(tmp_path, [contract("0", "", prompt=same), *rest]).other_prompts == ()
    with pytest.raises(EvaluationError, match=r"r:1: the prompt of capitals/europe 0 is .*another question"):
        joined(tmp_path, [contract("0", "", prompt="Which city?"), *rest])


def test_another_hash_of_the_prompt_is_refused_where_no_template_was_used(tmp_path: Path) -> None:
    rest = [contract("1", ""), {**contract("0", ""), "suite": "capitals/asia"}]
    for row in (
        contract("0", "", prompt_sha256=sha256(FINLAND.encode())),
        contract("0", "", prompt_sha256="0" * 64, generation={"template": "chatml"}),
    ):
        assert len(joined(tmp_path, [row, *rest]).pairs) == 3
    with pytest.raises(EvaluationError, match=r"r:1: the prompt of capitals/europe 0 is another one"):
        joined(tmp_path, [contract("0", "", prompt_sha256="0" * 64), *rest])


def test_a_manifest_that_names_other_items_is_refused(tmp_path: Path) -> None:
    suite = three()
    rows = [Response(id=item.id, suite=item.suite, text="x", language="en") for item in suite.items()]
    write_responses(tmp_path / "r", rows, suite_sha256=suite.fingerprint(), settings={})
    assert len(join(suite, read_responses(tmp_path / "r")).pairs) == 3
    other = Capitals(suite.items()[:2])
    with pytest.raises(EvaluationError, match=r"its manifest names other items of capitals than those given"):
        join(other, read_responses(tmp_path / "r"))


def test_two_items_with_one_id_are_the_users_error(tmp_path: Path) -> None:
    suite = Capitals([capital("asia", "0", "Japan", "Tokyo"), capital("asia", "0", "Nepal", "Kathmandu")])
    responses = read_responses(write(tmp_path / "r", [contract("0", "Tokyo")]))
    with pytest.raises(EvaluationError, match=r"capitals/asia: two items have the id 0 \(en\)\. Give each item an id"):
        join(suite, responses, partial=True)
