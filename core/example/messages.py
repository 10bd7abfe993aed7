"""Messages in the forms that people have, as turns of a conversation.

    read_messages(columns, "messages")      # [{"role": "user", "content": ...}, ...]
    read_messages(columns, "conversations") # [{"from": "human", "value": ...}, ...], or bare texts in turn

Roles have the names that OpenAI, ShareGPT and their kin give them; `developer` is `system`. Parts of a content are
joined, several system messages too.

Where it sits: columns -> **messages** -> conversation and preference.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import orjson

from core.example.columns import Columns, as_json
from core.example.example import Conversation, Message, Role, Unusable

ROLES = {
    "system": Role.SYSTEM, "developer": Role.SYSTEM,
    "user": Role.USER, "human": Role.USER, "prompter": Role.USER,
    "assistant": Role.ASSISTANT, "gpt": Role.ASSISTANT, "chatgpt": Role.ASSISTANT, "model": Role.ASSISTANT,
    "function_call": Role.ASSISTANT, "tool_call": Role.ASSISTANT,
    "tool": Role.TOOL, "function": Role.TOOL, "observation": Role.TOOL, "tool_response": Role.TOOL,
}  # fmt: skip
_CALLS = ("function_call", "tool_call")
"""Roles of ShareGPT's kin whose text is a call."""

_TEXTS = ("content", "value", "text")
_KEYS = frozenset(("role", "from", *_TEXTS, "weight", "train", "tool_calls", "function_call", "name", "tool_call_id"))
_WHAT = "`role` (system, user, assistant or tool) or `content` as text"


def read_messages(columns: Columns, column: str) -> tuple[Message, ...]:
    """The turns of a column, the system's joined and put first.

    Raises:
        Unusable: it is no list of messages.
    """
    raw = columns.take(column)
    if isinstance(raw, str):  # a table holds JSON as text
        raw = _parsed(raw, column)
    if isinstance(raw, dict):
        raw = [raw]
    if not isinstance(raw, list) or not raw:
        raise Unusable("malformed", f"`{column}` is not a list with a turn in it")
    if column != "messages" and all(isinstance(item, str) for item in raw):
        roles = (Role.USER, Role.ASSISTANT)
        turns = [Message(role=roles[n % 2], content=text, is_trained=n % 2 == 1) for n, text in enumerate(raw)]
    else:
        turns = [_message(item, number) for number, item in enumerate(raw, start=1)]
        unused = {
            key for item in raw for key, value in item.items() if key not in _KEYS and value not in (None, "", [])
        }
        columns.leave(f"{column}[].{key}" for key in unused)
    return _system_first(turns)


def with_system(columns: Columns, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The turns, behind a system text that stands in a column of its own.

    Raises:
        Unusable: it is no text.
    """
    system = columns.take("system", "system_prompt")
    if system is not None and not isinstance(system, str):
        raise Unusable("malformed", "`system` is not text")
    return _system_first((Message(role=Role.SYSTEM, content=system or "", is_trained=False), *messages))


def _parsed(text: str, column: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as e:
        raise Unusable("malformed", f"`{column}` is text that is no JSON list of messages") from e


def _message(raw: Any, number: int) -> Message:
    if not isinstance(raw, dict):
        raise Unusable("malformed", f"message {number} lacks {_WHAT}")
    name = raw.get("role", raw.get("from"))
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise Unusable("malformed", f"message {number} lacks {_WHAT}; its role is {name!r:.40}")
    content = _content(
        next((raw[key] for key in ("content", "value", "text") if raw.get(key) is not None), None), number
    )
    as_call = _wrapped(content) if content and str(name).lower() in _CALLS else ""
    calls = as_call or _calls(raw)
    if content is None and not calls:
        raise Unusable("malformed", f"message {number} lacks {_WHAT}")
    return Message(
        role=role,
        content="" if content is None or as_call else content,
        is_trained=role is Role.ASSISTANT and _is_trained(raw, number),
        tool_calls=calls,
        name=raw["name"] if isinstance(raw.get("name"), str) else "",
        tool_call_id=raw["tool_call_id"] if isinstance(raw.get("tool_call_id"), str) else "",
    )


def _content(raw: Any, number: int) -> str | None:
    """A text, or text parts joined by line ends; None: there is none."""
    if raw is None or isinstance(raw, str):
        return raw
    if not isinstance(raw, list):
        raise Unusable("malformed", f"message {number} lacks {_WHAT}")
    texts = []
    for part in raw:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise Unusable("not_text", f"message {number} holds a part that is no text ({str(kind)!r:.40})")
        texts.append(text)
    return "\n".join(texts)


def _calls(raw: dict[str, Any]) -> str:
    """Calls of tools as a JSON list, in OpenAI's form."""
    if isinstance(raw.get("tool_calls"), list) and raw["tool_calls"]:
        return as_json(raw["tool_calls"])
    if isinstance(raw.get("function_call"), dict):
        return as_json([{"type": "function", "function": raw["function_call"]}])
    return ""


def _wrapped(text: str) -> str:
    """A call that was written as text; empty: it is none."""
    try:
        call = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ""
    return as_json([{"type": "function", "function": call}]) if isinstance(call, dict) and "name" in call else ""


def _is_trained(raw: dict[str, Any], number: int) -> bool:
    """By `weight` (OpenAI) or `train`."""
    for key in ("weight", "train"):
        value = raw.get(key)
        if value is None:
            continue
        if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
            raise Unusable("malformed", f"message {number} has {key} {value!r:.40}: give 0 or 1")
        if 0 < value < 1:
            raise Unusable("malformed", f"message {number} has {key} {value}: an answer is trained or not, give 0 or 1")
        return bool(value)
    return True


def _system_first(turns: Iterable[Message]) -> tuple[Message, ...]:
    turns = list(turns)
    system = "\n\n".join(turn.content for turn in turns if turn.role is Role.SYSTEM and turn.content.strip())
    others = [turn for turn in turns if turn.role is not Role.SYSTEM]
    first = [Message(role=Role.SYSTEM, content=system, is_trained=False)] if system else []
    return (*first, *others)


def conversation(messages: Sequence[Message], columns: Columns) -> Conversation:
    """A conversation that can be trained on.

    Raises:
        Unusable: it is empty, ends with the user, has a blank turn, or no answer of it is trained.
    """
    for number, message in enumerate(messages, start=1):
        if message.role is Role.USER and not message.content.strip():
            raise Unusable("malformed", f"the user's turn is blank (message {number})")
        if message.role is Role.ASSISTANT and not message.content.strip() and not message.tool_calls:
            raise Unusable("empty_output", f"the answer is empty (message {number})")
    if messages and messages[-1].role in (Role.USER, Role.TOOL):
        whose = "user's" if messages[-1].role is Role.USER else "tool's"
        raise Unusable("ends_with_user", f"ends with the {whose} turn; the last turn must be the assistant's")
    answers = [message for message in messages if message.role is Role.ASSISTANT]
    if not answers:
        raise Unusable("malformed", "holds no answer of the assistant's")
    if not any(message.is_trained for message in answers):
        raise Unusable("nothing_trained", "no answer is trained: each has weight 0")
    tools = columns.take("tools", "functions")
    described = columns.description()
    return Conversation(messages=tuple(messages), tools=_tools(tools), description=described)


def _tools(raw: Any) -> str:
    if isinstance(raw, str) and raw.strip():
        raw = _parsed(raw, "tools")
    return as_json(raw) if raw else ""


def untrained(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The same turns, as context alone."""
    return tuple(replace(message, is_trained=False) for message in messages)
