"""Caps the tokens that one NI task may give, so that tasks with long rows do not fill the budget.

    within, beyond = capped(candidates, 50_000, seed=2023)

It runs before the draw, so that quotas are filled from other tasks. Own rows are not capped: the user chose them.

Where it sits: examined candidates -> **cap** -> targets and draw.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

from curation.candidate import Candidate
from curation.sources.source import NI_SOURCES


def capped(candidates: Sequence[Candidate], most_tokens: int, *, seed: int) -> tuple[list[Candidate], list[Candidate]]:
    """Of each NI task as many candidates as stay within the limit, at random, weak ones first; and those beyond it.

    A row that no longer fits is passed over, and a shorter one may still fit. Both parts keep the order given.
    """
    by_task: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.source in NI_SOURCES.values():
            by_task[candidate.task].append(candidate)
    beyond: set[tuple[str, str]] = set()
    for task, members in sorted(by_task.items()):
        members.sort(key=lambda c: c.id)
        random.Random(f"task-tokens-{seed}-{task}").shuffle(members)
        rest = most_tokens
        for candidate in sorted(members, key=lambda c: c.solved):
            if candidate.num_tokens <= rest:
                rest -= candidate.num_tokens
            else:
                beyond.add((task, candidate.id))

    def is_beyond(c: Candidate) -> bool:
        return c.source in NI_SOURCES.values() and (c.task, c.id) in beyond

    return [c for c in candidates if not is_beyond(c)], [c for c in candidates if is_beyond(c)]
