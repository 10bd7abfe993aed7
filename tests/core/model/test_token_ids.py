"""One way from text to ids: what is trained on is what is asked and served, for every kind of tokenizer."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from core.errors import PredictionError
from core.model.token_ids import IGNORED_LABEL, encode, leading_ids, rows_ids, without_end
from harness.base_model import load_tokenizer

PROMPT = "### Instruction:\nSay it.\n\n### Response:\n"
ANSWER = "It is 4 °C, isn't it?"
KINDS: dict[str, dict[str, Any]] = {
    "BOS added": {"bos": "<s>", "eos": "</s>", "adds": True},
    "BOS not added": {"bos": "<s>", "eos": "</s>"},
    "no BOS": {"eos": "</s>"},
    "no EOS": {"bos": "<s>", "adds": True},
    "pad is EOS": {"bos": "</s>", "eos": "</s>", "pad": "</s>"},
}


def write_tokenizer(folder: Path, *, bos: str = "", eos: str = "", pad: str = "", adds: bool = False) -> Path:
    """A byte-level tokenizer of one kind, as a model folder holds it."""
    special = list(dict.fromkeys(token for token in (bos, eos, pad) if token))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    if adds:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, vocab[bos])])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"bos_token": bos, "eos_token": eos, "pad_token": pad}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **{key: token for key, token in named.items() if token}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "no EOS"])
def test_what_is_trained_is_what_is_served(tmp_path: Path, kind: str) -> None:
    tokenizer = load(write_tokenizer(tmp_path, **KINDS[kind]))
    (row,) = rows_ids(tokenizer, [(PROMPT, ANSWER)])
    served = encode(tokenizer, PROMPT)
    assert list(row.input_ids[: len(served)]) == served == tokenizer(PROMPT)["input_ids"]
    answer = row.input_ids[len(served) :]
    assert answer == row.labels[len(served) :]
    assert set(row.labels[: len(served)]) == {IGNORED_LABEL}
    assert answer[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(answer[:-1]) == ANSWER
    assert leading_ids(tokenizer) == ((tokenizer.bos_token_id,) if KINDS[kind].get("adds") else ())


def test_without_an_end_token_nothing_is_trained(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, **KINDS["no EOS"])
    assert encode(load(folder), PROMPT) == load(folder)(PROMPT)["input_ids"]  # asking goes without
    with pytest.raises(PredictionError, match=r'no end token, .* "eos_token" in tokenizer_config\.json') as e:
        load_tokenizer(folder)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "no EOS"])
@pytest.mark.parametrize("text", ["a </s> b", "<s>", "</s></s>", "x<s>y"])
def test_a_special_token_in_a_text_is_text(tmp_path: Path, kind: str, text: str) -> None:
    tokenizer = load(write_tokenizer(tmp_path, **KINDS[kind]))
    special = set(tokenizer.all_special_ids)
    body = encode(tokenizer, text, bos=False)
    assert not special & set(body)
    assert tokenizer.decode(body) == text
    (row,) = rows_ids(tokenizer, [(text, text)])
    assert list(row.labels).count(tokenizer.eos_token_id) == 1
    assert list(row.input_ids) == [*leading_ids(tokenizer), *body, *body, tokenizer.eos_token_id]


@pytest.mark.parametrize(
    ("answer", "bare"),
    [
        ("yes", "yes"),
        ("yes</s>", "yes"),
        ("yes </s>\n", "yes"),
        ("yes</s></s>", "yes"),
        ("</s>", ""),
        ("yes \n", "yes \n"),
        ("</s> is the end", "</s> is the end"),
    ],
)
def test_an_end_token_written_behind_an_answer_is_taken_off(tmp_path: Path, answer: str, bare: str) -> None:
    tokenizer = load(write_tokenizer(tmp_path, **KINDS["BOS added"]))
    assert without_end(tokenizer, answer) == bare


def test_many_rows_at_once_are_the_rows_one_by_one(demo_base: Path) -> None:
    tokenizer = load(demo_base)
    texts = [(f"{PROMPT}{n}", f"{ANSWER} {n}" * (n % 3)) for n in range(2_500)]
    assert rows_ids(tokenizer, texts) == [row for text in texts for row in rows_ids(tokenizer, [text])]


def test_a_real_tokenizer_spells_special_tokens_out_too(demo_base: Path) -> None:
    tokenizer = load(demo_base)
    assert leading_ids(tokenizer) == (tokenizer.bos_token_id,)
    assert tokenizer.eos_token_id not in encode(tokenizer, "the end</s>")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "no EOS"])
def test_the_quick_way_gives_the_ids_of_a_call(tmp_path: Path, kind: str) -> None:
    """Also when a caller has left truncation and padding set."""
    tokenizer = load(write_tokenizer(tmp_path, **KINDS[kind]))
    texts = [PROMPT, ANSWER, "", "a </s> b <s>", "ein Wörterbuch\n" * 40]
    called = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    assert [encode(tokenizer, text, bos=False) for text in texts] == called
    assert tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] == called
