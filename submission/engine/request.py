"""What the engine is asked for, whatever HTTP contract it arrived by.

    GenerationRequest(prompt="2 + 2 =", max_new_tokens=4, stop=("\\n",))

Where it sits: every contract of the server converts to it: api, openai -> **request** -> job -> engine.
"""

from dataclasses import dataclass

from core.example.example import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """A prompt to complete, or a conversation to answer."""

    prompt: str | tuple[int, ...] = ""
    """Text, before which the engine puts the tokenizer's leading tokens; or token ids, which are read as they are."""
    messages: tuple[Message, ...] = ()
    """Rendered by the model's chat template, in place of `prompt`, which is then empty."""
    max_new_tokens: int | None = None
    """None: as many as the context window leaves."""
    temperature: float = 0.0
    """At most 1e-5 means greedy."""
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    """None: every request draws differently."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings."""
    echo: bool = False
    """The prompt's tokens come before those of the answer."""
    num_top: int = 1
    """The number of most likely tokens that are reported at each position."""
    must_fit: bool = False
    """A prompt beyond the context window is refused, whatever the server's setting. For requests whose answer is wrong
    without the beginning: the log-probabilities of a prompt, and conversations."""
    is_challenge: bool = False
    """The request came by the challenge's contract, so that the server's compatibility mode applies."""

    @property
    def length(self) -> int:
        """Characters or ids to read."""
        return len(self.prompt) + sum(len(message.content) for message in self.messages)
