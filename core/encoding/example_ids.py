"""Examples as token ids and labels: what is trained of a text, a prompted example or a conversation.

    encoder = ExampleEncoder(tokenizer)
    for encoded in encoder.encode(examples):          # RowIds, or Unusable with the reason

Prompted examples are rendered by the Alpaca prompt, conversations by the base's chat template, and a text is trained
whole. A pair of answers is rendered as two conversations, each up to the end token of its last answer. The first token
of a row bears no loss: in a packed batch it would be predicted from another row.

Where it sits: mix_line -> **example_ids** -> tokenised table, losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.encoding.rendering import ChatRenderer, Loss
from core.example.example import Conversation, Example, Message, Preference, Prompted, Role, Text, Unusable
from core.example.mix_line import MixExample
from core.example.prompt import training_prompt
from core.model.token_ids import IGNORED_LABEL, RowIds, encode, end_id, rows_ids, without_end


@dataclass(frozen=True, slots=True, kw_only=True)
class PairIds:
    """A prompt with its chosen, and with its rejected answer. Only the answers have labels."""

    chosen: RowIds
    rejected: RowIds

    @property
    def longest(self) -> int:
        """Tokens of the longer side."""
        return max(len(self.chosen.input_ids), len(self.rejected.input_ids))


@dataclass(slots=True, kw_only=True)
class ExampleEncoder:
    """Encodes examples with one tokenizer."""

    tokenizer: Any
    num_ends_removed: int = 0
    """Answers and texts that ended in the text of the end token, which is added by its id."""
    _renderer: ChatRenderer | None = field(default=None, init=False)

    @property
    def renderer(self) -> ChatRenderer:
        """Renders conversations; made when the first one is met.

        Raises:
            PredictionError: the base's chat template cannot be used.
        """
        self._renderer = self._renderer or ChatRenderer(self.tokenizer)
        return self._renderer

    @property
    def chat_template(self) -> str:
        """What conversations were rendered by, in a sentence; empty: there were none."""
        return self._renderer.told if self._renderer else ""

    @property
    def added_template(self) -> str:
        """The template that conversations were rendered by; empty: it is the base's own, or there were none."""
        return self._renderer.added_template if self._renderer else ""

    def encode(self, examples: Sequence[MixExample]) -> list[RowIds | Unusable]:
        """The ids of each example, or why it has none."""
        prompted = [(n, item.example) for n, item in enumerate(examples) if isinstance(item.example, Prompted)]
        pairs = [(training_prompt(e.instruction, e.input), self._without_end(e.outputs[0])) for _, e in prompted]
        numbers = [number for number, _ in prompted]
        found: dict[int, RowIds | Unusable] = dict(zip(numbers, rows_ids(self.tokenizer, pairs), strict=True))
        for number, item in enumerate(examples):
            if number not in found:
                found[number] = self._encode_one(item)
        return [_checked(_whole(found[n]) if item.trains_prompt else found[n]) for n, item in enumerate(examples)]

    def encode_pairs(self, examples: Sequence[MixExample]) -> list[PairIds | Unusable]:
        """The ids of both sides of each pair, or why it has none."""
        return [self._encode_pair(item.example) for item in examples]

    def _encode_pair(self, example: Example) -> PairIds | Unusable:
        if not isinstance(example, Preference):
            return Unusable("no_rejected_answer", "has no rejected answer, and the recipe trains preferences")
        try:
            chosen, rejected = (self._side(example.prompt, answer) for answer in (example.chosen, example.rejected))
        except Unusable as e:
            return e
        if chosen == rejected:
            return Unusable("equal_sides", "its sides are the same once the chat template has shown them")
        return PairIds(chosen=chosen, rejected=rejected)

    def _side(self, prompt: Sequence[Message], answer: Sequence[Message]) -> RowIds:
        row = self.renderer.render(self._ends_removed(Conversation(messages=(*prompt, *answer))), Loss.RESPONSES)
        end = max(number for number, label in enumerate(row.labels) if label != IGNORED_LABEL) + 1
        return RowIds(input_ids=row.input_ids[:end], labels=row.labels[:end])

    def _encode_one(self, item: MixExample) -> RowIds | Unusable:
        try:
            if isinstance(item.example, Text):
                return self._encode_text(item.example)
            if isinstance(item.example, Conversation):
                loss = Loss.ALL if item.trains_prompt else Loss.RESPONSES
                return self.renderer.render(self._ends_removed(item.example), loss)
        except Unusable as e:
            return e
        return Unusable("preference", "a pair of answers is trained by an objective for preferences")

    def _encode_text(self, text: Text) -> RowIds:
        ids = (*encode(self.tokenizer, self._without_end(text.text)), end_id(self.tokenizer))
        return RowIds(input_ids=ids, labels=ids)

    def _ends_removed(self, conversation: Conversation) -> Conversation:
        messages = tuple(
            replace(m, content=self._without_end(m.content)) if m.role is Role.ASSISTANT and m.content else m
            for m in conversation.messages
        )
        return replace(conversation, messages=messages)

    def _without_end(self, answer: str) -> str:
        stripped = without_end(self.tokenizer, answer)
        self.num_ends_removed += stripped != answer
        return stripped


def _whole(row: RowIds | Unusable) -> RowIds | Unusable:
    """The row with loss on every token."""
    return row if isinstance(row, Unusable) else replace(row, labels=row.input_ids)


def _checked(row: RowIds | Unusable) -> RowIds | Unusable:
    """The row without loss on its first token, if more than an end token is left to train."""
    if isinstance(row, Unusable):
        return row
    row = replace(row, labels=(IGNORED_LABEL, *row.labels[1:]))
    if row.num_answer_tokens < 2:
        return Unusable("no_answer", "its answer is the end token alone")
    return row
