"""Drawn candidates as lines of `rows.jsonl`: copied from their scratch files, with the number of tokens filled in.

Where it sits: draw -> **rendering** -> rows.
"""

from curation.policies.policy import Screen
from curation.sources.source import MixRow, read_row
from curation.stages.row_files import Lines, lines_at

_UNCOUNTED = b'"num_tokens":0}\n'


def render(screen: Screen, lines: Lines) -> list[bytes]:
    """Drawn rows as JSON lines; their tokens are counted if there is a tokenizer and they are not counted yet."""
    rows = list(lines_at(lines.path, lines.offsets))
    if not screen.counts_tokens:
        return rows
    uncounted = [i for i, num in enumerate(lines.num_tokens) if num == 0]
    counts = dict(zip(uncounted, screen.count_rows([_row(rows[i]) for i in uncounted]), strict=True))
    return [_with_tokens(line, counts.get(i, lines.num_tokens[i])) for i, line in enumerate(rows)]


def _row(line: bytes) -> MixRow:
    return read_row(line)


def _with_tokens(line: bytes, num_tokens: int) -> bytes:
    """`num_tokens` is a row's last field, and 0 as long as it is not counted."""
    assert line.endswith(_UNCOUNTED), "a row's last field is no longer num_tokens"
    return line.removesuffix(_UNCOUNTED) + b'"num_tokens":%d}\n' % num_tokens
