"""Which template examples with an answer are rendered by."""

from enum import StrEnum


class Template(StrEnum):
    """How a mix of own data is written."""

    AUTO = "auto"
    """The chat template where an example is a conversation, else the Alpaca prompt."""
    ALPACA = "alpaca"
    """`### Instruction`, `### Input`, `### Response`; conversations keep the chat template."""
    CHAT = "chat"
    """The base's chat template, or ChatML where it has none."""
