import pytest
import torch

from core.example.prompt import training_prompt
from submission.engine.engine import Completion, cut_tokens
from submission.server.api import ProcessRequest, Token
from tests.demo_model import demo_engine, demo_model

FIRST_WORD = training_prompt("Write the first word of the list.", "apple, lamp, saw")


def ask(prompt: str = FIRST_WORD, **fields: object) -> Completion:
    return demo_engine().process(
        ProcessRequest.model_validate({"prompt": prompt, "max_new_tokens": 12, **fields}).generation()
    )


def consistent(answer: Completion) -> bool:
    text = "".join(t.text for t in answer.tokens)
    total = sum(t.logprob for t in answer.tokens)
    return text == answer.text and total == pytest.approx(answer.logprob)


def test_a_greedy_answer_is_right_and_adds_up() -> None:
    answer = ask()
    assert answer.text == "apple"
    assert consistent(answer)
    assert all(t.logprob <= 0 for t in answer.tokens)


def test_logprobs_are_those_of_the_raw_softmax() -> None:
    """Against a forward pass over prompt and answer, computed here."""
    answer = ask()
    prompt = demo_model().encode(FIRST_WORD)
    new = demo_model().encode(FIRST_WORD + answer.text)[len(prompt) :]
    with torch.no_grad():
        logits = demo_model().model(input_ids=torch.tensor([[*prompt, *new]])).logits[0]
    expected = [float(torch.log_softmax(logits[len(prompt) - 1 + n].float(), -1)[token]) for n, token in enumerate(new)]
    assert [t.logprob for t in answer.tokens] == pytest.approx(expected, abs=1e-4)


def test_a_greedy_token_is_its_own_best_alternative() -> None:
    for token in ask().tokens:
        assert next(iter(token.top_logprob.values())) == pytest.approx(token.logprob)


def test_helms_zero_temperature_is_greedy() -> None:
    assert ask(temperature=1e-7).text == ask(temperature=0).text


def test_sampling_follows_its_seed() -> None:
    hot = [ask("Once", temperature=5.0, seed=seed, max_new_tokens=8).text for seed in (1, 1, 2, 3)]
    assert hot[0] == hot[1]
    assert len(set(hot)) > 1


@pytest.mark.parametrize("stop", [["pp"], ["le"], ["apple"], ["x", "ppl"]])
def test_stop_strings_cut_text_and_tokens_alike(stop: list[str]) -> None:
    answer = ask(stop_sequences=stop)
    assert answer.text == "apple"[: min(p for s in stop if (p := "apple".find(s)) >= 0)]
    assert consistent(answer)


def test_max_new_tokens_bounds_the_answer() -> None:
    assert len(ask("Anna", max_new_tokens=3).tokens) <= 3


def test_echo_without_new_tokens_gives_the_prompts_tokens_with_numbers() -> None:
    answer = ask("Anna gave the lamp to Ben.", max_new_tokens=0, echo_prompt=True)
    assert answer.text == "Anna gave the lamp to Ben."
    assert consistent(answer)
    assert all(isinstance(t.logprob, float) for t in answer.tokens)


def test_echo_comes_before_the_answer() -> None:
    assert ask(echo_prompt=True).text == FIRST_WORD + "apple"


def test_nothing_asked_for_is_nothing() -> None:
    assert ask(max_new_tokens=0) == Completion(text="", tokens=(), logprob=0)


@pytest.mark.parametrize("prompt", ["", " ", "\n", "é", "漢字", "\x00", "</s>", "▁", "🙂" * 3])
def test_odd_prompts_are_answered(prompt: str) -> None:
    assert consistent(ask(prompt))
    assert consistent(ask(prompt, echo_prompt=True))


def test_an_over_long_prompt_loses_its_beginning_not_its_end() -> None:
    answer = ask("word " * 5_000 + "\n\n" + FIRST_WORD)
    assert answer.text.strip()
    assert consistent(answer)


@pytest.mark.parametrize("max_new_tokens", [2_000, 2_040, 2_048, 4_096])
def test_asking_for_more_than_the_window_holds_does_not_cost_the_prompt(max_new_tokens: int) -> None:
    assert ask(max_new_tokens=max_new_tokens).text == "apple"


def test_tokenize_has_no_bos_and_honours_truncation() -> None:
    ids = demo_engine().tokenize("Anna and Ben", truncation=False, max_length=0)
    assert demo_model().tokenizer.bos_token_id not in ids
    assert demo_engine().tokenize("Anna and Ben", truncation=True, max_length=2) == ids[:2]
    assert demo_engine().decode(ids) == "Anna and Ben"


def test_an_id_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 767"):
        demo_engine().decode([768])


def token(text: str) -> Token:
    return Token(text=text, logprob=-1.0, top_logprob={})


def test_a_token_that_straddles_the_stop_string_keeps_what_is_before_it() -> None:
    cut = cut_tokens([token("ab"), token("c\n"), token("\nd")], ["\n\n"])
    assert [t.text for t in cut] == ["ab", "c"]
    assert [t.text for t in cut_tokens([token("ab"), token("cd")], ["cd"])] == ["ab"]
    assert cut_tokens([token("stop")], ["stop"]) == []
