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


def few_shot_prompt(definition: str, shots: Sequence[Example], query: str) -> str:
    """The published few-shot layout: preamble, definition, every shot, the query.

    Args:
        definition: `Definition[0]` of the task.
        shots: Worked examples in the order they are shown; their explanations are not shown.
        query: The instance's input.
    """
    blocks = [f"{PREAMBLE}\n\n### Instruction:\n{definition}\n\n"]
    blocks += [f"### Input:\n{shot.input}\n\n### Response:\n{shot.output}\n\n" for shot in shots]
    blocks.append(f"### Input:\n{query}\n\n### Response:\n")
    return "".join(blocks)


def shuffled_shots(examples: Sequence[Example], *, seed: int, task: str) -> tuple[Example, ...]:
    """The task's positive examples in an order fixed by (seed, task).

    The winner shuffles them without a seed. One order per task, not per instance, keeps the prefix of all its
    prompts the same, so an engine with a prefix cache reads it once.
    """
    order = list(examples)
    random.Random(f"shots-{seed}-{task}").shuffle(order)
    return tuple(order)


def cut_at_stop(text: str, stop: Sequence[str] = (STOP,)) -> str:
    """`text` up to the first of the stop strings. Leading white space is the model's own and is kept.

    A text that *begins* with a blank line is cut to nothing: the model answered nothing.
    """
    ends = [position for s in stop if (position := text.find(s)) >= 0]
    return text[: min(ends)] if ends else text
