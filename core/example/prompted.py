"""Question and answer in columns of their own, under the names that data sets give them.

    >>> columns = Columns({"instruction": "Add.", "context": "1, 2", "response": "3"})
    >>> read_prompted(columns, QUESTIONS, ANSWERS).input
    '1, 2'

Where it sits: columns -> **prompted**; reading calls it.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from core.example.columns import Columns
from core.example.example import Conversation, Message, Prompted, Role, Unusable
from core.example.messages import conversation, read_messages, untrained

QUESTIONS = ("instruction", "prompt", "question", "query")
ANSWERS = ("output", "response", "completion", "answer", "answers")
INPUTS = ("context", "input")
"""Where both are filled, the input follows the context."""


def read_prompted(columns: Columns, questions: Sequence[str], answers: Sequence[str]) -> Prompted | Conversation:
    """An example of instruction, input and answers; a conversation, if turns came before.

    Raises:
        Unusable: question or answer is missing, blank or no text.
    """
    question, answer = columns.first(*questions), columns.first(*answers)
    if _is_list_of_messages(columns, question):
        return _from_messages(columns, question, answer)
    instruction = columns.take(question) if question else None
    given = _input(columns)
    if not isinstance(instruction, str) or not instruction.strip():
        if (instruction not in (None, "") and not isinstance(instruction, str)) or not given.strip():
            raise Unusable("malformed", f"lacks `{questions[0]}` as text (or `messages`, for a chat)")
        instruction, given = given, ""
    _refuse_misspelt(columns, answer)
    outputs = _outputs(columns.take(answer) if answer else None, answers[0])
    system = _text(columns.take("system", "system_prompt"), "system")
    history = columns.take("history")
    example = Prompted(
        instruction=instruction, input=given, outputs=outputs, system=system, description=columns.description()
    )
    return _with_history(example, history, columns) if history else example


def _input(columns: Columns) -> str:
    names = [name for name in INPUTS if name in columns]
    texts = [_text(columns.take(name), name) for name in names]
    return "\n\n".join(text for text in texts if text.strip())


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unusable("malformed", f"`{name}` is not text")
    return value


def _refuse_misspelt(columns: Columns, answer: str) -> None:
    """A column that was meant to be the input would be lost."""
    if not any(name in columns for name in INPUTS):
        misspelt = get_close_matches("input", set(columns.unused()) - {answer}, n=1, cutoff=0.8)
        if misspelt:
            raise Unusable("malformed", f"has `{misspelt[0]}` and no `input`: a misspelling")


def _outputs(raw: Any, name: str) -> tuple[str, ...]:
    """One answer or several; SQuAD's are in a list `text`."""
    if isinstance(raw, dict):
        raw = raw.get("text")
    outputs = [raw] if isinstance(raw, str) else raw
    if not isinstance(outputs, list) or not outputs or not all(isinstance(text, str) for text in outputs):
        raise Unusable("malformed", f"lacks `{name}` as text or a list of texts")
    usable = tuple(text for text in outputs if text.strip())
    if not usable:
        raise Unusable("empty_output", "the answer is empty")
    return usable


def _with_history(example: Prompted, history: Any, columns: Columns) -> Conversation:
    """Alpaca's `history`: earlier questions with their answers."""
    pairs = history if isinstance(history, list) else []
    fine = all(isinstance(p, list) and len(p) == 2 and all(isinstance(t, str) for t in p) for p in pairs)
    if not pairs or not fine:
        raise Unusable("malformed", "`history` is not a list of [question, answer]")
    earlier = tuple(
        Message(role=role, content=text, is_trained=role is Role.ASSISTANT)
        for pair in pairs
        for role, text in zip((Role.USER, Role.ASSISTANT), pair, strict=True)
    )
    return conversation(example.as_conversation(earlier).messages, columns)


def _is_list_of_messages(columns: Columns, name: str) -> bool:
    return bool(name) and isinstance(columns.peek(name), list)


def _from_messages(columns: Columns, question: str, answer: str) -> Conversation:
    """A prompt and a completion that are both messages: the prompt's answers are context."""
    prompt = untrained(read_messages(columns, question))
    value = columns.peek(answer) if answer else None
    if isinstance(value, str):
        columns.take(answer)
        return conversation((*prompt, Message(role=Role.ASSISTANT, content=value)), columns)
    return conversation((*prompt, *read_messages(columns, answer or "completion")), columns)
