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

from collections.abc import Sequence

STOP = "\n\n"
"""A few-shot answer ends at the first blank line. Source: the winner's scripts."""


def training_prompt(instruction: str, input_text: str) -> str:
    """The text before the answer, in a training row and in a question of `oneday try`.

    Args:
        instruction: The task's definition, or the user's request. Its block is left out if it is empty, as in the
            winner's training file.
        input_text: The instance's input. Its block is left out if it is empty.
    """
    instruction_block = f"### Instruction:\n{instruction}\n\n" if instruction else ""
    input_block = f"### Input:\n{input_text}\n\n" if input_text else ""
    return f"{instruction_block}{input_block}### Response:\n"


def cut_at_stop(text: str, stop: Sequence[str] = (STOP,)) -> str:
    """`text` up to the first of the stop strings. Leading white space is kept.

    A text that begins with a blank line is cut to an empty text.
    """
    ends = [position for s in stop if (position := text.find(s)) >= 0]
    return text[: min(ends)] if ends else text
