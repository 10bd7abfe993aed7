"""`oneday chat`: a conversation with a picked checkpoint in the terminal; the model is loaded once.

A line is a turn. `/base` shows what the base answers too, `/reset` begins anew, `/quit` or the end of input ends.

Where it sits: find_served -> engine -> **chat**.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.encoding.rendering import CHATML
from core.errors import OnedayError
from core.example.example import Message, Role
from core.example.prompt import training_prompt
from core.files import encodable
from core.model.language_model import LanguageModel
from oneday.commands.serve import chat_template_of
from oneday.display.console import Console
from oneday.requests.submission import ChatRequest
from submission.checkpoint import find_served
from submission.engine.request import GenerationRequest

if TYPE_CHECKING:
    from submission.engine.engine import Engine
    from submission.engine.job import Completion, TokenStream
    from submission.server.api import Token

PROMPT = "you> "
HELP = "a line is a turn; /base shows the base's answer too, /reset begins anew, /quit ends"


def run_chat(request: ChatRequest, console: Console) -> None:
    """Loads the model, then answers line by line.

    Raises:
        OnedayError: there is nothing to talk to, or the chat template cannot show a conversation.
    """
    from submission.engine.engine import Engine

    served = find_served(
        request.checkpoint,
        base=request.base,
        precision=request.precision,
        base_changed=request.base_changed_on_purpose,
    )
    for warning in served.warnings:
        console.say(f"warning: {warning}")
    console.say(f"loading {request.checkpoint}")
    model = LanguageModel.load(served.base, lora_adapter=served.lora_adapter, precision=served.precision)
    template = chat_template_of(None, served)
    is_chat = request.template == "chat" or (
        request.template == "auto" and (template is not None or isinstance(model.tokenizer.chat_template, str))
    )
    if is_chat and template is None and not isinstance(model.tokenizer.chat_template, str):
        template = CHATML
    engine = Engine(model, chat_template=template)
    if is_chat and (problem := engine.chat_problem()):
        raise OnedayError(f"{request.checkpoint}: {problem}. `template=alpaca` asks each line by the Alpaca prompt.")
    console.say(f"{HELP}; rendered by the {'chat template' if is_chat else 'Alpaca prompt, each line by itself'}")
    chat = Chat(request=request, engine=engine, model=model, is_chat=is_chat, write=_write)
    chat.talk(_lines())


def _lines() -> Iterator[str]:
    """The turns that are typed, or that stand in the standard input."""
    is_terminal = sys.stdin.isatty()
    while True:
        try:
            yield input(PROMPT) if is_terminal else next(sys.stdin).rstrip("\n")
        except (EOFError, StopIteration):
            return


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@dataclass(slots=True, kw_only=True)
class Chat:
    """A conversation so far."""

    request: ChatRequest
    engine: "Engine"
    model: LanguageModel
    is_chat: bool
    write: Callable[[str], None]
    shows_base: bool = False
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shows_base = self.request.beside_base
        self._reset()

    def _reset(self) -> None:
        system = self.request.system
        self.messages = [Message(role=Role.SYSTEM, content=system, is_trained=False)] if system else []

    def talk(self, lines: Iterator[str]) -> None:
        """Answers each line until they end."""
        for line in lines:
            if line.strip() == "/quit":
                return
            if line.strip() == "/reset":
                self._reset()
            elif line.strip() == "/base":
                self.shows_base = not self.shows_base
                self.write(f"the base's answers are {'shown' if self.shows_base else 'hidden'}\n")
            elif line.strip():
                self._turn(line)

    def _turn(self, line: str) -> None:
        """Asks, and keeps question and answer. Where one cannot be answered, the conversation stays as it was."""
        if not encodable(line):
            self.write("that is not valid Unicode\n")
            return
        asked = [*self.messages, Message(role=Role.USER, content=line, is_trained=False)]
        try:
            if self.shows_base and self.model.lora_adapter is not None:
                with self.model.without_adapter():
                    self._answer("base", asked, line)
            answer = self._answer("model", asked, line)
        except OnedayError as e:
            self.write(f"\n{e} /reset begins anew.\n")
            return
        if self.is_chat:
            self.messages = [*asked, Message(role=Role.ASSISTANT, content=answer)]

    def _answer(self, name: str, messages: Sequence[Message], line: str) -> str:
        """The answer, written as it comes."""
        from submission.engine.job import TokenStream

        self.write(f"{name}> ")

        shown: list[str] = []

        def send(tokens: "Sequence[Token]") -> None:
            shown.extend(token.text for token in tokens)
            self.write("".join(token.text for token in tokens))

        prompt = "" if self.is_chat else training_prompt(self._with_system(line), "")
        request = GenerationRequest(
            prompt=prompt,
            messages=tuple(messages) if self.is_chat else (),
            max_new_tokens=self.request.max_new_tokens,
            temperature=self.request.temperature,
            seed=self.request.seed,
            must_fit=self.is_chat,
        )
        completion = self._completion(request, TokenStream(send=send))
        self.write(completion.text[len("".join(shown)) :] + "\n")
        return completion.text

    def _with_system(self, line: str) -> str:
        return f"{self.request.system}\n\n{line}" if self.request.system else line

    def _completion(self, request: GenerationRequest, stream: "TokenStream") -> "Completion":
        found: list[Completion | Exception] = []
        job = self.engine.prepare(request, stream=stream)
        self.engine.run([job], lambda _, result: found.append(result))
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]
