"""Estimates prompts and tokens of a curation before the base model is asked.

    estimate(curation, tokens=TokenCounter.mistral_7b())

Prompts are counted exactly. Their tokens are estimated from at most 32 prompts of each task, spread evenly over it.

Where it sits: used by a dry run. It selects tasks as the pipeline does and stops before the first request.
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

END_TOKENS = 1
"""Tokens of the blank line at which an answer ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEstimate:
    """One task."""

    task: str
    kind: Kind
    num_prompts: int
    shared_tokens: int
    """Tokens of preamble, definition and shots, which every prompt of the task begins with."""
    own_tokens: int
    """Estimated tokens of all its prompts together, without the shared ones."""
    most_new_tokens: int
    """Number of new tokens if no answer ends early."""
    answer_tokens: float
    """Estimated mean length of an answer, if the base answers like the references and then ends with a blank line."""
    longest_answer: int
    """Length of the longest of the sampled references, ended in the same way."""
    is_own: bool = False
    """Whether the task is made of own rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """All tasks together."""

    tasks: tuple[TaskEstimate, ...]
    kinds: Mapping[str, KindEvidence]
    """The kind of each task, with the evidence."""
    num_own_rows: int
    """Number of own rows, whether they are asked or taken without asking."""
    sample: tuple[Request, ...]
    """Prompts of a few tasks, from short to long ones, to time an engine with. Each task gives many, because an engine
    reads a task's shots once for all of its prompts."""

    @property
    def num_prompts(self) -> int:
        """Number of requests to the base model."""
        return sum(t.num_prompts for t in self.tasks)

    @property
    def prompt_tokens(self) -> int:
        """Number of prompt tokens, as a server without a prefix cache reads them and as they are billed."""
        return sum(t.num_prompts * t.shared_tokens + t.own_tokens for t in self.tasks)

    @property
    def read_tokens(self) -> int:
        """Number of prompt tokens if the shared prefix is read once per shard."""
        return sum(-(-t.num_prompts // SHARD_SIZE) * t.shared_tokens + t.own_tokens for t in self.tasks)

    @property
    def most_new_tokens(self) -> int:
        """Upper bound of the new tokens; most answers end earlier, at a blank line."""
        return sum(t.most_new_tokens for t in self.tasks)


def estimate(curation: Curation, tokens: TokenCounter, *, tasks_timed: int = 4) -> Estimate:
    """Selects tasks in a scratch folder and counts. The run folder is not touched."""
    with tempfile.TemporaryDirectory(prefix="oneday-") as scratch:
        dry = replace(curation, run=Path(scratch))
        chosen = select_stage(dry)
        store = InstanceStore(chosen.path(INSTANCES))
        tasks: list[TaskEstimate] = []
        kinds: dict[str, KindEvidence] = {}
        requests_of: dict[str, list[Request]] = {}
        num_own_rows = 0
        samples = curation.parameters.samples
        for selected in read_selected(chosen.path("tasks.jsonl")):
            kinds[selected.name] = selected.typed
            is_own = own_name(selected.categories) is not None
            num_asked = selected.block.num_instances
            num_own_rows += is_own * num_asked
            if not samples.asks(is_own=is_own):
                continue
            drawn = store.at(_spread(list(store.offsets(selected.block).values()), SAMPLED_PER_TASK))
            fits = lambda prompt, new: True  # noqa: E731
            requests = list(
                build_requests(selected, selected.kind, drawn, curation.parameters.prompts, fits, lambda dropped: None)
            )
            task_estimate = _task(selected.name, selected.kind, num_asked, requests, tokens)
            tasks.append(replace(task_estimate, is_own=is_own))
            requests_of[selected.name] = requests
    if not tasks:
        return Estimate(tasks=(), kinds=kinds, num_own_rows=num_own_rows, sample=())
    by_length = sorted(tasks, key=lambda t: (t.shared_tokens + t.own_tokens / t.num_prompts, t.task))
    middles = [by_length[(2 * n + 1) * len(by_length) // (2 * tasks_timed)] for n in range(tasks_timed)]
    timed = dict.fromkeys(t.task for t in middles)
    return Estimate(
        tasks=tuple(tasks),
        kinds=kinds,
        num_own_rows=num_own_rows,
        sample=tuple(r for task in timed for r in requests_of[task]),
    )


def _task(name: str, kind: Kind, num: int, requests: Sequence[Request], tokens: TokenCounter) -> TaskEstimate:
    heads = {r.prompt[: r.num_shared] for r in requests}  # several if every row has an instruction of its own
    shared = tokens.count(list(heads))[0] if len(heads) == 1 else 0
    answers = [n + END_TOKENS for n in tokens.count([r.references[0] if r.references else "" for r in requests])]
    own = sum(tokens.count([r.prompt[r.num_shared if shared else 0 :] for r in requests])) / len(requests)
    return TaskEstimate(
        task=name,
        kind=kind,
        num_prompts=num,
        shared_tokens=shared,
        own_tokens=round(own * num),
        most_new_tokens=num * requests[0].max_new_tokens,
        answer_tokens=sum(min(n, requests[0].max_new_tokens) for n in answers) / len(answers),
        longest_answer=min(max(answers), requests[0].max_new_tokens),
    )


Item = TypeVar("Item")


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` items, spread evenly."""
    if len(items) <= most:
        return list(items)
    return [items[n * len(items) // most] for n in range(most)]
