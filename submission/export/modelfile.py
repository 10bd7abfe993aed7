"""Ollama's Modelfile: the GGUF file, the training's prompts as a Go template, and the text that ends an answer.

    modelfile("200k-f16.gguf", ALPACA, stop="</s>")
    template = chat_template(tokenizer, template=None)
    template.render([("user", "Hello.")])

Ollama does not run a model's Jinja template. The Go template is made from what the Jinja template puts around the
contents of a conversation, and is only accepted if it renders other conversations, with and without a system message,
as the Jinja template does. Ollama adds the BOS token by itself, so the template begins behind it.

Where it sits: GGUF -> **Modelfile** -> `ollama create`.
"""

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from core.encoding.rendering import ChatRenderer
from core.errors import PredictionError
from core.example.example import Message, Role, Unusable
from core.model.token_ids import leading_ids
from submission.errors import ExportError

Turn = tuple[str, str]
"""Role and content."""

ALPACA = (
    "{{ if .System }}### Instruction:\n{{ .System }}\n\n### Input:\n{{ .Prompt }}\n\n{{ else }}"
    "### Instruction:\n{{ .Prompt }}\n\n{{ end }}### Response:\n{{ .Response }}"
)
"""The prompts of runs on questions with one answer (core/example/prompt.py): a system text is the instruction."""

_GO = (
    '{{- range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ if eq .Role "system" }}<SYSTEM>'
    '{{ else if eq .Role "user" }}{{ if eq $i 0 }}<FIRST>{{ else if and (eq $i 1) $.System }}<BEHIND>'
    "{{ else }}<NEXT>{{ end }}{{ .Content }}{{ if $last }}<INVITATION>{{ else }}<ANSWERED>{{ end }}"
    '{{ else if eq .Role "assistant" }}{{ .Content }}{{ end }}{{ end }}'
)
_PLACE = re.compile("<([A-Z]+)>")

_SYSTEM, _ONE, _TWO, _THREE = ("system", "Q0w"), ("user", "Q1w"), ("assistant", "Q2w"), ("user", "Q3w")
_PROBES = ([_ONE], [_ONE, _TWO, _THREE])
_CHECKS = (
    [("user", "How far is it?")],
    [("user", "How far is it?"), ("assistant", "Four miles."), ("user", "On foot?")],
    [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e\n\nf")],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaTemplate:
    """The texts around the contents of a conversation."""

    first: str
    """Before the first user's content without a system message."""
    answered: str
    """Between a user's content and its answer."""
    following: str
    """Between an answer and the next user's content."""
    invitation: str
    """Behind the last user's content."""
    system: str | None
    """Before the system's content; None: the template has no place for a system message."""
    behind_system: str
    """Between the system's and the first user's content."""

    def go(self) -> str:
        """As Ollama's Go template."""
        texts = {
            "SYSTEM": "" if self.system is None else f"{self.system}{{{{ .Content }}}}",
            "FIRST": self.first, "BEHIND": self.first if self.system is None else self.behind_system,
            "NEXT": self.following, "INVITATION": self.invitation, "ANSWERED": self.answered,
        }  # fmt: skip
        return _PLACE.sub(lambda place: texts[place[1]], _GO)

    def render(self, turns: Sequence[Turn]) -> str:
        """What the Go template makes of a conversation that ends with a user's turn."""
        found = ""
        for number, (role, content) in enumerate(turns):
            if role == "system":
                found += "" if self.system is None else self.system + content
            elif role == "user":
                is_behind = number == 1 and turns[0][0] == "system"
                behind = self.first if self.system is None else self.behind_system
                found += self.first if number == 0 else behind if is_behind else self.following
                found += content + (self.invitation if number == len(turns) - 1 else self.answered)
            else:
                found += content
        return found


def chat_template(tokenizer: Any, *, template: str | None) -> tuple[OllamaTemplate, str]:
    """The Go template, and the text that ends an answer: the end token, else all that stands before the next question.

    Args:
        tokenizer: The base's.
        template: The Jinja template of the training; None: the tokenizer's own.
    Raises:
        ExportError: the Jinja template cannot be shown, or not as a Go template.
    """
    try:
        renderer = ChatRenderer(tokenizer, template=template)
        found = _probe(renderer, _leading_text(tokenizer))
    except (PredictionError, Unusable) as e:
        raise _refused(str(getattr(e, "detail", e))) from e
    whole = "".join(filter(None, astuple(found)))
    if '"""' in whole or "{{" in whole:
        raise _refused('it holds """ or {{')
    return found, renderer.end or found.following.strip()


def modelfile(gguf: str, template: str, *, stop: str) -> str:
    """The text of a Modelfile.

    Args:
        gguf: Name of the file beside it.
        template: Go template.
        stop: The text that ends an answer; empty: the end token of the file alone.
    """
    lines = [f"FROM ./{gguf}", f'TEMPLATE """{template}"""']
    if stop:
        lines.append(f'PARAMETER stop "{stop}"')
    return "\n".join(lines) + "\n"


def _probe(renderer: ChatRenderer, leading: str) -> OllamaTemplate:
    def shown(turns: Sequence[Turn]) -> str:
        messages = [Message(role=Role(role), content=content) for role, content in turns]
        return renderer.prompt(messages).text.removeprefix(leading)

    alone, dialogue = (_around(shown(turns), turns) for turns in _PROBES)
    try:
        with_system: list[str] | None = _around(shown([_SYSTEM, _ONE]), [_SYSTEM, _ONE])
    except Unusable:
        with_system = None
    found = OllamaTemplate(
        first=alone[0],
        answered=dialogue[1],
        following=dialogue[2],
        invitation=alone[-1],
        system=with_system[0] if with_system else None,
        behind_system=with_system[1] if with_system else "",
    )
    checks = [*_CHECKS, *([("system", "Be brief."), *turns] for turns in _CHECKS if with_system)]
    for turns in checks:
        if found.render(turns) != shown(turns):
            raise Unusable("template", "what it puts around a content depends on the number of messages")
    return found


def _around(text: str, turns: Sequence[Turn]) -> list[str]:
    """The texts before, between and behind the contents."""
    found = []
    for _, content in turns:
        before, content_found, text = text.partition(content)
        if not content_found:
            raise Unusable("template", "it leaves out a message")
        found.append(before)
    return [*found, text]


def _leading_text(tokenizer: Any) -> str:
    ids = leading_ids(tokenizer)
    return str(tokenizer.decode(list(ids))) if ids else ""


def _refused(reason: str) -> ExportError:
    return ExportError(
        f"the chat template cannot be written as Ollama's: {reason}. Export `to=gguf`, which holds the Jinja template, "
        "or `to=merged`."
    )
