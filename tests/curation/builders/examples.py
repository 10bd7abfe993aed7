"""Small rows, and files of them."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from core.example.example import Conversation, Description, Message, Role
from core.generation.request import Answer, Request
from curation.builders.build import Built, build
from curation.builders.registry import parse_options
from curation.builders.rows import Row


def row(name: str, question: str = "Why?", answer: str = "So.", source: str = "en") -> Row:
    turns = (Message(role=Role.USER, content=question, is_trained=False), Message(role=Role.ASSISTANT, content=answer))
    return Row(id=name, example=Conversation(messages=turns, description=Description(language=source)), source=source)


def write(path: Path, records: Iterable[Any]) -> str:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return str(path)


def chats(path: Path, num: int, word: str = "row") -> str:
    """A file of short conversations with ids."""
    answer = {"role": "assistant", "content": word}
    asked = ({"role": "user", "content": f"{word} {n}?"} for n in range(num))
    return write(path, ({"id": f"{n}", "messages": [turn, answer]} for n, turn in enumerate(asked)))


def built(kind: str, run: Path, predictor: Any = None, **settings: Any) -> Built:
    return build(kind, parse_options(kind, settings), run, predictor=predictor)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def dropped(run: Path) -> list[dict[str, Any]]:
    return lines(run / "01_rows" / "dropped.jsonl")


class LineEngine:
    """Answers what a function makes of the line to translate, as a base model does: with more text behind it."""

    in_flight = 1
    keeps_answers = True

    def __init__(self, change: Any = str) -> None:
        self.change = change
        self.requests: list[Request] = []

    @property
    def revision(self) -> str:
        return f"lines:{self.change.__name__}"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return len(prompt) < 20_000

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        self.requests += requests
        return [self._answer(request.prompt[request.num_shared :]) for request in requests]

    def _answer(self, asked: str) -> Answer:
        line = asked.removeprefix("<|user|>").removesuffix("\n<|assistant|>")
        changed = self.change(line)
        return changed if not isinstance(changed, str) else f" {changed}\nEND\n\n<|user|>Next one.\n<|assistant|>"
