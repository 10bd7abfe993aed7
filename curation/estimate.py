"""Estimate: what asking the base model will take, before anything is asked.

    estimate(curation, tokens=TokenCounter.mistral_7b())

Prompts are counted exactly; their tokens from at most 32 prompts of each task, drawn evenly over it.

Where it sits: before a curation; it selects tasks as the pipeline does, and stops before the first question.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from core.generation.request import SHARD_SIZE, Kind, Request
from core.model.token_counter import TokenCounter
from curation.ni.few_shot import build_requests
from curation.ni.instances import INSTANCES, InstanceStore
from curation.ni.kind import KindEvidence
from curation.ni.select import own_name, read_selected
from curation.stages.context import Curation
from curation.stages.tasks import select_stage

SAMPLED_PER_TASK = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEstimate:
    """One task."""

    task: str
    kind: Kind
    num_prompts: int
    shared_tokens: int
    """Preamble, definition and shots: the same for every prompt."""
    own_tokens: int
    """Of all its prompts together, without the shared ones; estimated."""
    most_new_tokens: int
    """If no answer ended early."""
    is_own: bool = False
    """Made of the user's own rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """All tasks together."""

    tasks: tuple[TaskEstimate, ...]
    kinds: Mapping[str, KindEvidence]
    """How each task was typed."""
    num_own_rows: int
    """Of the user's, asked or taken unasked."""
    sample: tuple[Request, ...]
    """Real prompts of a few tasks, from those with short to those with long prompts: to time an engine with. Each
    task gives many, as in the job, where its shots are read once for all of them."""

    @property
    def num_prompts(self) -> int:
        """Questions to the base model."""
        return sum(t.num_prompts for t in self.tasks)

    @property
    def prompt_tokens(self) -> int:
        """Every prompt read whole, as a server without a prefix cache, or its bill, counts."""
        return sum(t.num_prompts * t.shared_tokens + t.own_tokens for t in self.tasks)

    @property
    def read_tokens(self) -> int:
        """With the shared prefix read once a shard."""
        return sum(-(-t.num_prompts // SHARD_SIZE) * t.shared_tokens + t.own_tokens for t in self.tasks)

    @property
    def most_new_tokens(self) -> int:
        """An upper bound: most answers end at a blank line before."""
        return sum(t.most_new_tokens for t in self.tasks)


def estimate(curation: Curation, tokens: TokenCounter, *, tasks_timed: int = 4) -> Estimate:
    """Selects in a scratch folder; the run folder is not touched."""
    with tempfile.TemporaryDirectory(prefix="oneday-") as scratch:
        dry = replace(curation, run=Path(scratch))
        chosen = select_stage(dry)
        store = InstanceStore(chosen.path(INSTANCES))
        tasks: list[TaskEstimate] = []
        kinds: dict[str, KindEvidence] = {}
        asked: dict[str, list[Request]] = {}
        num_own_rows = 0
        takes_all = curation.parameters.samples.take_all
        for selected in read_selected(chosen.path("tasks.jsonl")):
            kinds[selected.name] = selected.typed
            is_own = own_name(selected.categories) is not None
            num_asked = selected.block.num_instances
            num_own_rows += is_own * num_asked
            if takes_all and is_own:
                continue
            drawn = store.at(_spread(list(store.offsets(selected.block).values()), SAMPLED_PER_TASK))
            fits = lambda prompt, new: True  # noqa: E731
            requests = list(
                build_requests(selected, selected.kind, drawn, curation.parameters.prompts, fits, lambda dropped: None)
            )
            task_estimate = _task(selected.name, selected.kind, num_asked, requests, tokens)
            tasks.append(replace(task_estimate, is_own=is_own))
            asked[selected.name] = requests
    if not tasks:
        return Estimate(tasks=(), kinds=kinds, num_own_rows=num_own_rows, sample=())
    by_length = sorted(tasks, key=lambda t: (t.shared_tokens + t.own_tokens / t.num_prompts, t.task))
    middles = [by_length[(2 * n + 1) * len(by_length) // (2 * tasks_timed)] for n in range(tasks_timed)]
    timed = dict.fromkeys(t.task for t in middles)
    return Estimate(
        tasks=tuple(tasks),
        kinds=kinds,
        num_own_rows=num_own_rows,
        sample=tuple(r for task in timed for r in asked[task]),
    )


def _task(name: str, kind: Kind, num: int, requests: Sequence[Request], tokens: TokenCounter) -> TaskEstimate:
    heads = {r.prompt[: r.num_shared] for r in requests}  # several: every row has an instruction of its own
    shared = tokens.count(list(heads))[0] if len(heads) == 1 else 0
    own = sum(tokens.count([r.prompt[r.num_shared if shared else 0 :] for r in requests])) / len(requests)
    return TaskEstimate(
        task=name,
        kind=kind,
        num_prompts=num,
        shared_tokens=shared,
        own_tokens=round(own * num),
        most_new_tokens=num * requests[0].max_new_tokens,
    )


Item = TypeVar("Item")


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, evenly from first to last."""
    if len(items) <= most:
        return list(items)
    return [items[n * len(items) // most] for n in range(most)]
