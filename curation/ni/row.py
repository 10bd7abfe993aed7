"""Builds rows of the mix from instances: definition or own instruction, input, first reference.

    rows = TaskRows(selected)
    row = rows.row(instance, bucket=3)

Where it sits: instances and bucket -> **row** -> policies and mix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NotRequired, TypedDict

import orjson

from core.example.licence import spdx_expression
from curation.ni.select import SelectedTask, own_name
from curation.ni.task import Instance
from curation.sources.source import DialogueRow, MixRow, source_of

NI_ORIGIN = "allenai/natural-instructions"


class TaskRows:
    """Makes the rows of one task; what they share is computed once."""

    def __init__(self, task: SelectedTask) -> None:
        own = own_name(task.categories)
        self._task = task
        self.source = source_of(task.kind, task.categories)
        self._origin = f"own data: {own}" if own else f"{NI_ORIGIN}/{task.file}"
        self._licence = " | ".join(task.licences) or "none given"
        self._spdx = spdx_expression(task.licences)
        self._language = task.language

    def row(self, instance: Instance, bucket: int | None) -> MixRow:
        """An instance as a row. Its answer is the first reference, without the white space around it."""
        row = MixRow(
            id=instance.id,
            source=self.source,
            task=self._task.name,
            origin=self._origin,
            licence=self._licence,
            spdx=self._spdx,
            language=self._language,
            llm_generated=False,
            instruction=instance.instruction or self._task.definition,
            input=instance.input,
            output=instance.outputs[0].strip(),
            kind=self._task.kind,
            bucket=bucket,
        )
        return _dialogue_row(row, orjson.loads(instance.dialogue)) if instance.dialogue else row


class _Dialogue(TypedDict):
    messages: Sequence[Mapping[str, object]]
    tools: NotRequired[Sequence[Mapping[str, object]]]


def _dialogue_row(row: MixRow, dialogue: _Dialogue) -> DialogueRow:
    columns = {field.name: getattr(row, field.name) for field in fields(row)}
    return DialogueRow(**columns, messages=tuple(dialogue["messages"]), tools=tuple(dialogue.get("tools", ())))
