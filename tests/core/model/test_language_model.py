import shutil
from pathlib import Path

import pytest
import torch
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


def test_a_repetition_penalty_is_that_of_transformers_and_does_not_see_the_padding() -> None:
    model, ask = (
        demo_model(),
        "### Instruction:\nWrite the first word of the list.\n\n### Input:\n{}\n\n### Response:\n",
    )
    prompts = [ask.format(words) for words in ("apple, lamp, saw", "lamp, peach")]
    options = {"max_new_tokens": 8, "repetition_penalty": 1.8}
    alone = [model.complete([prompt], **options)[0] for prompt in prompts]
    assert model.complete(prompts, **options) == alone
    assert alone != [model.complete([prompt], max_new_tokens=8)[0] for prompt in prompts]
    for prompt, found in zip(prompts, alone, strict=True):
        ids = torch.tensor([model.encode(prompt)])
        row = model.model.generate(ids, do_sample=False, pad_token_id=0, **options)[0, ids.shape[1] :].tolist()
        assert model.continuation(ids[0].tolist(), row) == found.text


def test_a_completion_says_why_it_ended_and_how_long_it_is() -> None:
    prompt = "### Instruction:\nWrite the first word of the list.\n\n### Input:\napple, lamp, saw\n\n### Response:\n"
    whole = demo_model().complete([prompt], max_new_tokens=16)[0]
    assert (whole.text, whole.finish) == ("apple", "stop")
    assert whole.num_tokens is not None
    (just,) = demo_model().complete([prompt], max_new_tokens=whole.num_tokens)
    assert (just.text, just.finish, just.num_tokens) == ("apple", "length", whole.num_tokens)
    (cut,) = demo_model().complete([prompt], max_new_tokens=1)
    assert (cut.finish, cut.num_tokens) == ("length", 1)
    assert demo_model().complete([prompt], max_new_tokens=16, stop=("pp",))[0].finish == "stop"
    (ended,) = demo_model().complete([prompt], max_new_tokens=16, ends=range(768))
    assert (ended.text, ended.finish, ended.num_tokens) == ("", "stop", 0)
