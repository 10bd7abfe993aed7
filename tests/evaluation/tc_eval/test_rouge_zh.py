import tempfile
from pathlib import Path

import pytest

pytest.importorskip("sumeval", reason="sumeval and jieba (extra `eval`) are not installed")

from evaluation.responses import read_responses
from evaluation.tc_eval.rouge_zh import RougeZh


@pytest.fixture(scope="module")
def rouge() -> RougeZh:
    return RougeZh.load()


def test_rouge_of_two_real_sentences(rouge: RougeZh) -> None:
    first = "在2015年2月5日，一個由200多個雕塑組成的節日展覽開幕。"
    second = "超過200個雕塑的展覽於2月5日開幕。"
    expected = {"rouge_1": 0.571429, "rouge_2": 0.105263, "rouge_l": 0.380952}
    assert rouge(first, second) == pytest.approx(expected, abs=1e-6)
    assert rouge(second, first) == pytest.approx(expected, abs=1e-6)
    assert rouge("台灣的首都是台北。", "台北是台灣的首都。")["rouge_2"] == 0.5


def test_an_empty_side_scores_zero(rouge: RougeZh) -> None:
    assert set(rouge("", "台北").values()) == set(rouge("台北", "").values()) == {0.0}


def test_jieba_leaves_no_cache_file_in_the_folder_of_temporary_files(rouge: RougeZh) -> None:
    assert list(Path(tempfile.gettempdir()).glob("jieba.cache")) == []


def test_remembering_words_changes_no_score(rouge: RougeZh, shared_data: Path) -> None:
    from sumeval.metrics.rouge import RougeCalculator

    plain = RougeCalculator(stemming=True, lang="zh")
    models = [
        read_responses(shared_data / "tc_eval" / "responses" / f"{name}.jsonl.gz")
        for name in ("gpt3.5", "model_7c_chat")
    ]
    first, second = ([row.text for row in model.rows if row.suite == "XSum_TC_5k"][:40] for model in models)
    for a, b in zip(first, second, strict=True):
        expected = [getattr(plain, name)(a, b) for name in ("rouge_1", "rouge_2", "rouge_l")]
        assert list(rouge(a, b).values()) == expected
