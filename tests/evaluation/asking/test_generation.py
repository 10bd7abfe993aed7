"""Responses of a real, tiny model to a small suite."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from core.errors import PredictionError
from core.files import sha256
from core.generation.answer_store import AnswerStore
from core.generation.request import Refused, Request
from core.generation.transformers import TransformersPredictor
from core.model.completion import Completion
from evaluation.asking.generation import TOO_LONG, Asked, Generated, GenerationSettings, generate
from evaluation.errors import EvaluationError
from evaluation.join import join
from evaluation.responses import read_responses, write_responses
from evaluation.suite import GenerationDefaults, Template
from tests.evaluation.capitals import Capitals, capital

COUNTRIES = ["Finland", "France and its islands", "Japan", "Chad, which lies in the middle of Africa", "Peru"]
SUITE = Capitals([capital("all", str(number), country, "?") for number, country in enumerate(COUNTRIES)])
PLAIN = GenerationSettings(template=Template.PLAIN, max_new_tokens=6, repetition_penalty=1.2)
CHAT = replace(PLAIN, template=Template.CHAT)


@pytest.fixture(scope="module")
def predictor(demo_base: Path) -> TransformersPredictor:
    return TransformersPredictor(demo_base, batch_size=2)


def asked(batch_size: int = 2) -> Asked:
    return Asked(engine="transformers", checkpoint={"name": "tiny", "sha256": "a"}, batch_size=batch_size)


def generated(
    path: Path, responder: TransformersPredictor, settings: GenerationSettings, suite: Capitals = SUITE
) -> Generated:
    with AnswerStore(path) as store:
        return generate(suite, responder, settings, asked=asked(), store=store)


@pytest.mark.parametrize("settings", [PLAIN, CHAT, replace(PLAIN, template=Template.ALPACA)])
def test_a_row_holds_what_the_contract_asks_for(
    tmp_path: Path, predictor: TransformersPredictor, settings: GenerationSettings
) -> None:
    """In the order of the suite, whatever the order of asking; and the file can be joined to the suite again."""
    found = generated(tmp_path / "answers", predictor, settings)
    assert [row.id for row in found.rows] == ["0", "1", "2", "3", "4"]
    assert all(row.tokens is not None and row.tokens <= 6 for row in found.rows)
    assert {row.finish for row in found.rows} <= {"stop", "length"}
    assert found.rows[0].generation == {
        "engine": "transformers", "template": str(settings.template), "max_new_tokens": 6, "repetition_penalty": 1.2,
        "stop": [], "response_prefix": "", "temperature": 0.0, "seed": None,
    }  # fmt: skip
    prompt = "What is the capital of Finland?"
    rendered = {
        Template.PLAIN: prompt,
        Template.CHAT: f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
        Template.ALPACA: f"### Instruction:\n{prompt}\n\n### Response:\n",
    }
    assert found.rows[0].prompt_sha256 == sha256(rendered[settings.template].encode())
    path = tmp_path / "r.jsonl"
    write_responses(path, found.rows, suite_sha256=SUITE.fingerprint(), settings={})
    assert [response.text for _, response in join(SUITE, read_responses(path)).pairs] == [r.text for r in found.rows]


@pytest.mark.parametrize("settings", [PLAIN, CHAT])
def test_neither_the_batch_nor_the_shared_prefix_changes_a_response(
    tmp_path: Path, demo_base: Path, predictor: TransformersPredictor, settings: GenerationSettings
) -> None:
    alone = TransformersPredictor(demo_base, batch_size=1, reuse_prefix=False)
    one, other = (generated(tmp_path / str(n), of, settings) for n, of in enumerate((predictor, alone)))
    assert [(row.text, row.tokens, row.finish) for row in one.rows] == [
        (row.text, row.tokens, row.finish) for row in other.rows
    ]


@dataclass
class Failing:
    """A predictor that fails at its second call, as a killed process does."""

    inner: TransformersPredictor
    fails: bool
    num_asked: int = 0
    in_flight: int = 1

    @property
    def revision(self) -> str:
        return self.inner.revision

    def rendered(self, request: Request) -> str:
        return self.inner.rendered(request)

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return self.inner.fits(prompt, max_new_tokens)

    def respond(self, requests: Sequence[Request]) -> list[Completion]:
        if self.fails and self.num_asked:
            raise PredictionError("the card is gone. Bring it back.")
        self.num_asked += len(requests)
        return self.inner.respond(requests)


def test_after_a_failure_only_what_is_missing_is_asked(tmp_path: Path, predictor: TransformersPredictor) -> None:
    whole = generated(tmp_path / "whole", predictor, PLAIN)
    first, second = Failing(predictor, fails=True), Failing(predictor, fails=False)
    with AnswerStore(tmp_path / "torn") as store, pytest.raises(PredictionError):
        generate(SUITE, first, PLAIN, asked=asked(), store=store)
    with AnswerStore(tmp_path / "torn") as store:
        again = generate(SUITE, second, PLAIN, asked=asked(), store=store)
    assert (first.num_asked, second.num_asked) == (2, 3)
    assert again == whole


def test_a_prompt_beyond_the_context_gets_an_empty_response_and_is_counted(
    tmp_path: Path, predictor: TransformersPredictor
) -> None:
    long = Capitals([*SUITE.items()[:2], capital("all", "9", "word " * 5_000, "?")])
    found = generated(tmp_path / "answers", predictor, PLAIN, long)
    assert found.unanswered == {TOO_LONG: 1}
    assert [(row.text == "", row.tokens) for row in found.rows][-1] == (True, 0)
    with pytest.raises(EvaluationError, match=r"none of 1 prompts can be asked \(prompt_too_long"):
        generated(tmp_path / "answers", predictor, PLAIN, Capitals(long.items()[2:]))


def test_a_server_that_refuses_a_prompt_does_not_cost_the_others(tmp_path: Path) -> None:
    class Server(Failing):
        def rendered(self, request: Request) -> str | None:  # type: ignore[override]
            return None

        def respond(self, requests: Sequence[Request]) -> list[Completion | Refused]:  # type: ignore[override]
            return [
                Refused(reason="refused_by_server")
                if "Peru" in r.prompt
                else Completion(text="x", finish=None, num_tokens=1)
                for r in requests
            ]

        @property
        def revision(self) -> str:
            return "a server"

    with AnswerStore(tmp_path / "answers") as store:
        server = Server(inner=None, fails=False)  # type: ignore[arg-type]
        found = generate(SUITE, server, PLAIN, asked=asked(), store=store)
    assert [row.text for row in found.rows] == ["x", "x", "x", "x", ""]
    assert found.unanswered == {"refused_by_server": 1}
    assert found.rows[0].prompt_sha256 is None


def test_what_begins_a_response_is_no_part_of_it(tmp_path: Path, predictor: TransformersPredictor) -> None:
    opened = generated(tmp_path / "opened", predictor, replace(PLAIN, response_prefix=" ("))
    assert opened.rows[0].prompt_sha256 == sha256(b"What is the capital of Finland? (")
    assert not opened.rows[0].text.startswith(" (")
    chat = generated(tmp_path / "chat", predictor, replace(CHAT, response_prefix=" ("))
    assert chat.rows[0].text != generated(tmp_path / "chat", predictor, CHAT).rows[0].text


def test_a_suites_stop_ends_responses_to_texts_and_not_in_chats() -> None:
    defaults = GenerationDefaults(stop=("\n\n",))
    stops = {template: GenerationSettings.of(defaults, template=template).stop for template in Template}
    assert stops == {Template.CHAT: (), Template.ALPACA: ("\n\n",), Template.PLAIN: ("\n\n",)}
