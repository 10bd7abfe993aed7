"""The one template: few-shot prompts, training rows and served questions are all rendered here.

    >>> print(training_prompt("Say it louder.", "hello"), end="")
    ### Instruction:
    Say it louder.
    <BLANKLINE>
    ### Input:
    hello
    <BLANKLINE>
    ### Response:

Source: the published few-shot example and the data scripts of the NeurIPS 2023 winner (Birbal). HELM's own
prompts are *not* rendered here: they pass to the model verbatim.

Where it sits: task -> **prompt** -> predict; the harness and the server call it too.
"""

import random
from collections.abc import Sequence
from enum import StrEnum

from curation.task import Example

PREAMBLE = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
"""First line of every few-shot prompt. Absent from training rows. Source: the winner's few-shot example."""

STOP = "\n\n"
"""A few-shot answer ends at the first blank line, as the winner's scripts cut it."""


def training_prompt(instruction: str, input_text: str) -> str:
    """The text before the answer of a training row, and of a question asked with `oneday try`.

    Args:
        instruction: The task's definition, or the user's request. An empty one leaves its block out, as the
            winner's training file does.
        input_text: The instance's input. Empty leaves its block out.
    """
    instruction_block = f"### Instruction:\n{instruction}\n\n" if instruction else ""
    input_block = f"### Input:\n{input_text}\n\n" if input_text else ""
    return f"{instruction_block}{input_block}### Response:\n"


def few_shot_prefix(definition: str, shots: Sequence[Example]) -> str:
    """What all questions of a task share: preamble, definition, shots, and the heading of the query."""
    blocks = [f"{PREAMBLE}\n\n### Instruction:\n{definition}\n\n"]
    blocks += [f"### Input:\n{shot.input}\n\n### Response:\n{shot.output}\n\n" for shot in shots]
    blocks.append("### Input:\n")
    return "".join(blocks)


def few_shot_prompt(definition: str, shots: Sequence[Example], query: str) -> str:
    """The published few-shot layout: preamble, definition, every shot, the query.

    Args:
        definition: `Definition[0]` of the task.
        shots: Worked examples in the order they are shown; their explanations are not shown.
        query: The instance's input. Empty, for a row of one's own that has none: asked without shots or input block.
    """
    if not query:
        return f"{PREAMBLE}\n\n### Instruction:\n{definition}\n\n### Response:\n"
    return f"{few_shot_prefix(definition, shots)}{query}\n\n### Response:\n"


class ShotOrder(StrEnum):
    """In which order a task's positive examples are shown."""

    PER_TASK = "per_task"
    """Shuffled once: the prefix of all prompts of a task is the same, so an engine reads it once."""
    PER_INSTANCE = "per_instance"
    """Shuffled for each question, as the winner's record suggests: no prefix is shared."""
    FILE = "file"


def ordered_shots(examples: Sequence[Example], order: ShotOrder, *, seed: int, name: str) -> tuple[Example, ...]:
    """The positive examples in an order fixed by (seed, name). The winner shuffles them without a seed."""
    shots = list(examples)
    if order is not ShotOrder.FILE:
        random.Random(f"shots-{seed}-{name}").shuffle(shots)
    return tuple(shots)


def cut_at_stop(text: str, stop: Sequence[str] = (STOP,)) -> str:
    """`text` up to the first of the stop strings. Leading white space is the model's own and is kept.

    A text that *begins* with a blank line is cut to nothing: the model answered nothing.
    """
    ends = [position for s in stop if (position := text.find(s)) >= 0]
    return text[: min(ends)] if ends else text
