"""An end of a text alone gives the ids that the whole text has there: with the tokenizers of the bases in use."""

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from core.model.language_model import LanguageModel, encode
from oneday.demo.demo import DEMO_BASE
from submission.engine.long_text import CHARACTERS_PER_TOKEN, REACH, SPARE, Encode, first_ids, last_ids

PAGES = sorted((Path(__file__).parents[3] / "docs").glob("*.md"))
TEXT = "\n\n".join(page.read_text() for page in PAGES)
OTHERS = (
    "Ääkköset ovat hyödyllisiä öisin. ", "Съешь же ещё этих мягких французских булок. ", "def f(x):\n\treturn x\n\n",
    "  indented   by   many   spaces\n", "🙂🙂 emoji, and é combined ", "12,345.678 and (a+b)^2 == c; ",
    "漢字は空白を使わない。\n", "<s> [INST] </s> ", "e\u0301 a\u0308 ", "\r\n\r\nWindows\r\n",
    "\u00a0no-break\u2003em ",
)  # fmt: skip


def mistral() -> Encode:
    """Mistral-7B's own, which is Llama's kind: no pre-tokenizer, a whole text is one word to it."""
    spec = importlib.util.find_spec("mistral_common")
    assert spec is not None
    assert spec.origin is not None
    model = sentencepiece.SentencePieceProcessor(str(Path(spec.origin).parent / "data" / "tokenizer.model.v1"))
    return lambda text: list(model.encode(text))


def small() -> Encode:
    tokenizer = LanguageModel.load(DEMO_BASE).tokenizer
    return lambda text: encode(tokenizer, text)


def trained(tokenizer: Tokenizer, trainer: trainers.Trainer) -> Encode:
    tokenizer.train_from_iterator([*TEXT.splitlines(), *OTHERS], trainer)
    return lambda text: list(tokenizer.encode(text).ids)


def byte_level() -> Encode:
    """GPT-2's kind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=2_000, initial_alphabet=alphabet, show_progress=False))


def of_llama_3() -> Encode:
    """Llama 3's and Qwen's kind: their expression parts the text, NFC before it."""
    split = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    )
    from tokenizers import Regex

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=2_000, initial_alphabet=alphabet, show_progress=False))


def unigram() -> Encode:
    """T5's and XLM-R's kind."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return trained(
        tokenizer,
        trainers.UnigramTrainer(vocab_size=600, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False),
    )


KINDS: dict[str, Callable[[], Encode]] = {
    "mistral": mistral, "demo": small, "byte-level": byte_level, "llama-3": of_llama_3, "unigram": unigram,
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Encode:
    return KINDS[request.param]()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), num=st.integers(1, 300), length=st.integers(0, 12_000))
def test_the_ids_of_an_end_are_those_of_the_whole(kind: Encode, seed: int, num: int, length: int) -> None:
    rng = random.Random(seed)
    parts = []
    while sum(map(len, parts)) < length:
        start = rng.randrange(len(TEXT) - 400)
        parts.append(rng.choice([TEXT[start : start + rng.randint(1, 400)], rng.choice(OTHERS) * rng.randint(1, 9)]))
    text = "".join(parts)
    whole = kind(text)
    assert last_ids(kind, text, num)[-num:] == whole[-num:]
    assert first_ids(kind, text, num)[:num] == whole[:num]


def test_a_long_text_is_not_read(kind: Encode) -> None:
    read: list[int] = []

    def counted(text: str) -> list[int]:
        read.append(len(text))
        return kind(text)

    for text in ("word " * 200_000, "🙂" * 1_000_000, TEXT * (1_000_000 // len(TEXT))):
        for ids_of in (last_ids, first_ids):
            read.clear()
            assert len(ids_of(counted, text, 2_048)) >= 2_048 + SPARE
            assert sum(read) < 16 * CHARACTERS_PER_TOKEN * (2_048 + SPARE) + 2 * REACH


def test_a_text_that_fits_is_read_once_and_whole(kind: Encode) -> None:
    read: list[str] = []
    text = "Anna gave the lamp to Ben."
    assert last_ids(lambda t: read.append(t) or kind(t), text, 100) == kind(text)  # type: ignore[func-returns-value]
    assert read == [text]


def test_without_a_place_to_cut_there_are_as_many_ids_all_the_same() -> None:
    read = small()
    assert last_ids(read, "🙂" * 100_000, 50)[-50:] == read("🙂" * 100)[-50:]  # bytes: each character for itself
    assert len(last_ids(read, "ab" * 100_000, 50)) >= 50 + SPARE
