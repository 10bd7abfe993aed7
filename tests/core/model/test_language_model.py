import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.example.prompt import training_prompt
from core.model.folder import model_fingerprint
from core.model.language_model import LanguageModel
from oneday.demo.demo import DEMO_BASE
from tests.demo_model import demo_model


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60).filter(lambda s: "▁" not in s))
def test_decoding_gives_back_what_was_encoded(text: str) -> None:
    ids = demo_model().encode(text, bos=False)
    assert demo_model().tokenizer.decode(ids, skip_special_tokens=False) == text


def test_special_tokens_in_a_text_are_ordinary_text() -> None:
    ids = demo_model().encode("a</s><s>b", bos=False)
    assert demo_model().tokenizer.eos_token_id not in ids
    assert demo_model().tokenizer.bos_token_id not in ids


def test_a_prompt_begins_with_bos_once() -> None:
    assert demo_model().encode("x")[:1] == [demo_model().tokenizer.bos_token_id]
    assert demo_model().encode("x").count(demo_model().tokenizer.bos_token_id) == 1


@settings(max_examples=80, deadline=None)
@given(
    st.text(min_size=1, max_size=20).filter(lambda s: "▁" not in s), st.text(max_size=20).filter(lambda s: "▁" not in s)
)
def test_a_continuation_is_the_text_that_the_new_tokens_add(head: str, tail: str) -> None:
    prompt = demo_model().encode(head)
    new = demo_model().encode(tail, bos=False)
    whole = demo_model().tokenizer.decode([*prompt[1:], *new], skip_special_tokens=False)
    if "�" not in whole and not whole.startswith(head + "�"):
        assert head + demo_model().continuation(prompt, new) == whole


@pytest.mark.parametrize(("head", "tail"), [("漢", "字"), ("🙂", "🙃🙂"), ("é", "ß"), ("x é", "é y")])
def test_a_continuation_survives_characters_of_several_bytes(head: str, tail: str) -> None:
    prompt = demo_model().encode(head)
    new = demo_model().encode(head + tail)[len(prompt) :]
    assert demo_model().continuation(prompt, new) == tail


def test_an_answer_stops_at_its_stop_string_and_is_cut_there() -> None:
    prompt = "### Instruction:\nWrite the first word of the list.\n\n### Input:\napple, lamp, saw\n\n### Response:\n"
    assert demo_model().generate([prompt], max_new_tokens=16, stop=("\n\n",)) == ["apple"]
    assert demo_model().generate([prompt], max_new_tokens=16, stop=("pp",)) == ["a"]
    assert demo_model().generate([prompt], max_new_tokens=1) != [""]


def test_a_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(DEMO_BASE, copy)
    assert model_fingerprint(copy) == model_fingerprint(DEMO_BASE)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    assert model_fingerprint(copy) != model_fingerprint(DEMO_BASE)


@pytest.mark.parametrize("precision", ["fp32", "4bit"])
def test_every_precision_answers(precision: str) -> None:
    model = LanguageModel.load(DEMO_BASE, precision=precision)  # type: ignore[arg-type]
    prompt = training_prompt("Who gave the thing away? Answer with the name.", "Anna gave the red lamp to Ben.")
    assert model.generate([prompt], max_new_tokens=8, stop=("\n\n",))[0].strip() == "Anna"
