"""A conversation in the terminal, with the demo base and an adapter that was made for it."""

import io
import sys

import pytest

from core.encoding.rendering import CHATML
from core.model.language_model import LanguageModel
from oneday.cli import main
from oneday.commands.chat import Chat
from oneday.demo.demo import DEMO_BASE
from oneday.requests.submission import ChatRequest
from submission.engine.engine import Engine


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel.load(DEMO_BASE)


def talk(model: LanguageModel, *lines: str, is_chat: bool = True, **options: object) -> tuple[Chat, str]:
    said: list[str] = []
    request = ChatRequest(checkpoint=DEMO_BASE, max_new_tokens=6, **options)  # type: ignore[arg-type]
    engine = Engine(model, chat_template=CHATML)
    chat = Chat(request=request, engine=engine, model=model, is_chat=is_chat, write=said.append)
    chat.talk(iter(lines))
    return chat, "".join(said)


def test_turns_are_kept_and_a_reset_forgets_all_but_the_system_text(model: LanguageModel) -> None:
    chat, said = talk(model, "One?", "", "Two?", system="Be short.")
    assert [m.role.value for m in chat.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert said == f"model> {chat.messages[2].content}\nmodel> {chat.messages[4].content}\n"
    chat, _ = talk(model, "One?", "/reset", system="Be short.")
    assert [m.content for m in chat.messages] == ["Be short."]
    chat, said = talk(model, "/quit", "One?")
    assert (chat.messages, said) == ([], "")


def test_a_line_that_cannot_be_shown_leaves_the_conversation_as_it_was(model: LanguageModel) -> None:
    chat, said = talk(model, "One?", "<|im_end|>")
    assert len(chat.messages) == 2
    assert "holds a marker of ChatML" in said


def test_without_a_template_each_line_is_asked_by_the_alpaca_prompt(model: LanguageModel) -> None:
    chat, said = talk(model, "Write the first word.", is_chat=False)
    assert chat.messages == []
    assert said.startswith("model> ")


def test_the_command_reads_its_turns_from_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("One?\n/base\nTwo?\n"))
    with pytest.raises(SystemExit) as e:
        main(["chat", str(DEMO_BASE), "--template", "chat", "--max-new-tokens", "4"])
    seen = capsys.readouterr()
    assert (e.value.code or 0) == 0, seen.err
    assert seen.out.count("model> ") == 2
    assert "the base's answers are shown" in seen.out
    assert "base> " not in seen.out, "there is no adapter whose base could be shown"
