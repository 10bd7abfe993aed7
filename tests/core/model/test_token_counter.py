import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SourceError
from core.example.prompt import training_prompt
from core.model.token_counter import TokenCounter
from core.model.word_counts import WordCounts, splits_at_spaces
from curation.ni.task import read_task, task_paths
from oneday.demo.demo import DEMO_BASE


def word_tokenizer() -> Any:
    """One token a word, split at spaces; BOS and EOS are set around a text where special tokens are asked for."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing

    tokenizer: Any = Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return tokenizer


def saved(tokenizer: Any, folder: Path) -> TokenCounter:
    tokenizer.save(str(folder / "tokenizer.json"))
    return TokenCounter.load(folder)


MISTRAL = TokenCounter.mistral_7b()
COUNTERS = {"mistral": MISTRAL, "demo": TokenCounter.load(DEMO_BASE)}


def test_mistrals_tokens_are_those_of_its_tokenizer() -> None:
    """Read off the pieces: ▁Good ▁morning . | ▁### ▁Response : \\n | digits alone | ▁h é ll o | four bytes."""
    texts = ["", "Good morning.", "### Response:\n", "12345", "héllo", "\U00013000"]
    assert MISTRAL.count(texts) == [0, 3, 4, 6, 4, 5]


def test_special_tokens_are_not_counted_into_a_text_but_into_a_row(tmp_path: Path) -> None:
    counter = saved(word_tokenizer(), tmp_path)
    assert counter.count(["", "a", "a b a"]) == [0, 1, 3]
    # ### Instruction: a b ### Input: a ### Response: b: 10 words, BOS and EOS
    assert counter.count_rows([("a b", "a", "b")]) == [12]


def test_an_empty_input_leaves_its_block_out(tmp_path: Path) -> None:
    counter = saved(word_tokenizer(), tmp_path)
    assert counter.count_rows([("a b", "", "b"), ("", "a b", "b")]) == [9, 9]


@pytest.mark.parametrize("counter", COUNTERS.values(), ids=COUNTERS)
def test_the_name_of_a_special_token_in_a_text_is_text(counter: TokenCounter) -> None:
    assert counter.count(["</s>"])[0] > 1


@pytest.mark.parametrize("counter", COUNTERS.values(), ids=COUNTERS)
def test_no_texts_have_no_counts(counter: TokenCounter) -> None:
    assert counter.count([]) == []
    assert counter.count_rows([]) == []


@settings(deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_a_text_counts_the_same_alone_and_among_others(texts: list[str]) -> None:
    for counter in COUNTERS.values():
        assert counter.count(texts) == [counter.count([text])[0] for text in texts]


def sentencepiece() -> Any:
    from sentencepiece import SentencePieceProcessor

    processor: Any = SentencePieceProcessor()
    processor.load(str(MISTRAL.path))
    return processor


PROCESSOR = sentencepiece()
WORDS = st.sampled_from(
    [
        "the",
        " ",
        "  ",
        "\u2581",
        "\n",
        "\t",
        "don't",
        "12,345.",
        "\u00e9t\u00e9",
        "\u4e2d\u6587",
        "<s>",
        "\u200b",
        "x" * 70,
    ]
)


@settings(deadline=None, max_examples=400)
@given(st.lists(st.one_of(WORDS, st.text(max_size=8)), max_size=24).map("".join))
def test_words_counted_one_by_one_are_as_many_tokens_as_the_whole_text(text: str) -> None:
    assert isinstance(getattr(MISTRAL._count, "__self__", None), WordCounts)
    assert MISTRAL.count([text]) == [len(PROCESSOR.encode(text))]


def test_rows_of_real_tasks_have_as_many_tokens_word_by_word(shared_data: Path) -> None:
    for path in task_paths([shared_data / "natural-instructions" / "tasks"])[::20]:
        task = read_task(path).task
        texts = [training_prompt(task.definition, i.input) + i.outputs[0] for i in task.instances[:200]]
        assert MISTRAL.count(texts) == [len(ids) for ids in PROCESSOR.encode(texts)]


class Pieces:
    """A SentencePiece model with these pieces."""

    def __init__(self, *pieces: str, changes: str = "") -> None:
        self.pieces, self.changes = ("\u2581", "<0x41>", *pieces), changes

    def get_piece_size(self) -> int:
        return len(self.pieces)

    def id_to_piece(self, number: int) -> str:
        return self.pieces[number]

    def is_byte(self, number: int) -> bool:
        return number == 1

    def normalize(self, text: str) -> str:
        return "\u2581" + "".join("x" if c in self.changes else c for c in text).replace(" ", "\u2581")


def test_a_model_whose_pieces_cross_words_or_that_changes_characters_is_encoded_whole() -> None:
    assert splits_at_spaces(Pieces("a", "\u2581\u2581a"))
    assert not splits_at_spaces(Pieces("a\u2581b"))
    assert not splits_at_spaces(Pieces(".\n"))
    assert not splits_at_spaces(Pieces("a", changes="\u00e9"))
    assert not splits_at_spaces(Pieces("a", changes="\t"))


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_a_row_is_its_prompt_and_its_answer_with_two_special_tokens(instruction: str, text: str, output: str) -> None:
    for counter in COUNTERS.values():
        alone = counter.count([training_prompt(instruction, text) + output])[0]
        assert counter.count_rows([(instruction, text, output)]) == [alone + 2]
        assert alone <= len((training_prompt(instruction, text) + output).encode()) + 3  # one `▁`, at most 3 bytes


@pytest.mark.parametrize("setting", ["truncation", "padding"])
def test_what_a_file_says_of_truncation_and_padding_changes_no_count(tmp_path: Path, setting: str) -> None:
    tokenizer = word_tokenizer()
    if setting == "truncation":
        tokenizer.enable_truncation(max_length=4)
    else:
        tokenizer.enable_padding()
    assert saved(tokenizer, tmp_path).count(["a", "a b a b a b"]) == [1, 6]


def test_a_folder_a_json_file_and_a_sentencepiece_file_are_taken(tmp_path: Path) -> None:
    for path in (DEMO_BASE, DEMO_BASE / "tokenizer.json"):
        counter = TokenCounter.load(path)
        assert counter.path == DEMO_BASE / "tokenizer.json"
        assert counter.sha256 == hashlib.sha256(counter.path.read_bytes()).hexdigest()
    (tmp_path / "tokenizer.model").write_bytes(MISTRAL.path.read_bytes())
    copied = TokenCounter.load(tmp_path)
    assert (copied.path, copied.sha256) == (tmp_path / "tokenizer.model", MISTRAL.sha256)
    assert copied.count(["Good morning."]) == [3]


def test_of_two_tokenizers_in_a_folder_the_json_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"never looked at")
    assert saved(word_tokenizer(), tmp_path).path.name == "tokenizer.json"


def test_a_folder_without_tokenizer_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no tokenizer\.json or tokenizer\.model in it\. Pass `tokenizer=FILE`"):
        TokenCounter.load(tmp_path)
    with pytest.raises(SourceError, match=r"nothing\.json: no such file\. `tokenizer=` takes"):
        TokenCounter.load(tmp_path / "nothing.json")


@pytest.mark.parametrize("content", [b"", b"{}", b"not a tokenizer"])
@pytest.mark.parametrize(("name", "kind"), [("tokenizer.json", "tokenizer"), ("tokenizer.model", "SentencePiece")])
def test_a_file_that_is_no_tokenizer_is_told(tmp_path: Path, name: str, kind: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=rf"{name}: no {kind}.*Pass `tokenizer="):
        TokenCounter.load(tmp_path / name)
