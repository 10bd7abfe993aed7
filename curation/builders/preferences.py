"""Preferences: pairs of a better and a worse answer, from scores or from rankings.

    PreferenceOptions(data="helpsteer2.jsonl.gz", score="helpfulness")    # scored answers, two a prompt
    PreferenceOptions(data="messages.jsonl")                              # a tree of messages with ranked replies

Prompts of several turns stay messages. Prompts that are too long for training are dropped here with a reason, because
the trainer only prints a warning.

Where it sits: rows, tree, pairs -> **preferences**.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from core.errors import MixError
from core.example.example import Conversation, Description, Message, Prompted, Role
from core.model.token_counter import TokenCounter
from core.records.record import Record, Rejected
from core.stage import Dropped
from curation.builders.pairs import PAIR, Pairing, RatedAnswer, RatedPrompt, candidates, pair
from curation.builders.rows import InputSpec, IsInput, Row, dropped_record, messages, row_of
from curation.builders.tree import read_tree, tree_language
from curation.builders.work import BuildContext, BuildOptions, Output, token_counter

PROMPT = "prompt"
"""Unit of the prompts, from whose answers pairs are formed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceOptions(BuildOptions):
    """Options of preferences."""

    data: Annotated[str, IsInput()]
    """Scored answers, or a message tree: FILE, NAME=FILE, or FILE#KEY to read one key of each record."""
    score: str = ""
    """Column of the score, such as helpfulness; higher is better. Default: the data is a message tree with ranks."""
    pairing: Pairing = "best-worst"
    """Pair the best answer to a prompt with the worst one, or with each other answer."""
    keep_deleted: bool = False
    """Use the deleted messages of a tree."""
    max_prompt_tokens: int | None = None
    """Drop prompts with more tokens, without the chat template. Default: no limit."""
    tokenizer: Path | None = None
    """Folder of the base model, or its tokenizer file, to count tokens with."""

    def check(self) -> None:
        """Raises `MixError` if a value cannot be used."""
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 1:
            raise MixError(f"`max_prompt_tokens={self.max_prompt_tokens}` would drop every prompt. Give 1 or more.")


def outputs(options: PreferenceOptions, context: BuildContext) -> Iterator[Output]:
    """Yields one file of pairs."""
    data = InputSpec.parse(options.data)
    counter = None
    if options.max_prompt_tokens is not None:
        counter = token_counter(options.tokenizer, "prompts are bounded by tokens")
    prompts = _scored(data, options.score, context) if options.score else _ranked(data, options, context)
    yield Output(
        name="preferences",
        items=_pairs(_usable(prompts, options, counter, context), options.pairing, context),
        num_in=lambda: context.num_in[PAIR],
        unit=PAIR,
    )


def _pairs(prompts: Iterator[RatedPrompt], pairing: Pairing, context: BuildContext) -> Iterator[Row | Dropped]:
    turns: dict[int, int] = {}
    for prompt in prompts:
        for better, worse in candidates(prompt, pairing):
            context.num_in[PAIR] += 1
            item = pair(prompt, better, worse, pairing)
            if isinstance(item, Row):
                turns[len(prompt.messages)] = turns.get(len(prompt.messages), 0) + 1
            yield item
    context.tables["messages of a prompt"] = [{"messages": num, "pairs": turns[num]} for num in sorted(turns)]


def _usable(
    prompts: Iterator[RatedPrompt], options: PreferenceOptions, counter: TokenCounter | None, context: BuildContext
) -> Iterator[RatedPrompt]:
    """Yields the prompts with at least two rated answers that are not too long. Drops the others."""
    for prompt in prompts:
        context.num_read[PROMPT] += 1
        if len(prompt.answers) < 2:
            detail = f"{len(prompt.answers)} rated answers"
            context.drop(_dropped(PROMPT, prompt, "nothing_to_compare", detail))
            continue
        length = sum(counter.count([message.content for message in prompt.messages])) if counter else 0
        if options.max_prompt_tokens is not None and length > options.max_prompt_tokens:
            detail = f"{length} tokens, limit {options.max_prompt_tokens}"
            context.drop(_dropped(PROMPT, prompt, "prompt_too_long", detail))
            continue
        yield prompt


def _dropped(unit: str, prompt: RatedPrompt, reason: str, detail: str) -> Dropped:
    return Dropped(unit=unit, id=prompt.id, reason=reason, detail=detail, source=prompt.source)


# -- rankings


def _ranked(data: InputSpec, options: PreferenceOptions, context: BuildContext) -> Iterator[RatedPrompt]:
    tree = read_tree(data, context, keep_deleted=options.keep_deleted)
    described = Description(language=tree_language(data))
    for prompt, replies in tree.ranked():
        answers = [
            RatedAnswer(id=reply.id, message=reply.message, rating=-reply.rank)
            for reply in replies
            if reply.rank is not None
        ]
        thread = tuple(message.message for message in tree.thread(prompt))
        yield RatedPrompt(id=prompt.id, messages=thread, answers=answers, source=data.name, description=described)


# -- scores


def _scored(data: InputSpec, score: str, context: BuildContext) -> Iterator[RatedPrompt]:
    """Groups the answers of a file by prompt, in the order of their first answers."""
    prompts: dict[tuple[Message, ...], RatedPrompt] = {}
    answers: dict[tuple[Message, ...], list[RatedAnswer]] = {}
    names: set[str] = set()
    for record in context.records(data):
        found = _scored_answer(record, data, score)
        if isinstance(found, Rejected):
            context.drop(dropped_record(found, data))
            continue
        prompt, answer = found
        if prompt.messages not in prompts:
            answers[prompt.messages] = []
            name = f"{prompt.id}/{record.place.name}" if prompt.id in names else prompt.id
            names.add(name)
            prompts[prompt.messages] = replace(prompt, id=name, answers=answers[prompt.messages])
        answers[prompt.messages].append(answer)
    yield from prompts.values()


def _scored_answer(record: Record, data: InputSpec, score: str) -> tuple[RatedPrompt, RatedAnswer] | Rejected:
    """Returns the prompt and the scored answer of a record."""
    row = row_of(record, data)
    if isinstance(row, Rejected):
        return row
    if not isinstance(row.example, Prompted | Conversation):
        return Rejected(place=record.place, reason="malformed", detail="has no prompt with an answer")
    rating = _number(record.columns.get(score))
    if rating is None:
        return Rejected(place=record.place, reason="no_score", detail=f"lacks `{score}` as a number")
    *before, answer = messages(row.example)
    described = replace(row.example.description, other={})
    prompt = RatedPrompt(id=row.id, messages=_turns(before), answers=(), source=data.name, description=described)
    return prompt, RatedAnswer(id=row.id, message=answer, rating=rating)


def _number(value: object) -> float | None:
    """Returns a score as a number. CSV files hold it as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number == number else None


_STEER = "<extra_id_1>"
"""HelpSteer2 stores the earlier turns in the text of the prompt. Each turn except the first begins with the line
`<extra_id_1>Assistant` or `<extra_id_1>User`."""


def _turns(prompt: list[Message]) -> tuple[Message, ...]:
    """Returns the messages of a prompt. Splits a prompt that HelpSteer2 stores as one text."""
    if len(prompt) != 1 or _STEER not in prompt[0].content:
        return tuple(prompt)
    first, *others = prompt[0].content.split(f"\n{_STEER}")
    found = [Message(role=Role.USER, content=first)]
    for turn in others:
        who, _, said = turn.partition("\n")
        role = {"User": Role.USER, "Assistant": Role.ASSISTANT}.get(who)
        if role is None or not said.strip():
            return tuple(prompt)
        found.append(Message(role=role, content=said))
    return tuple(found)
