"""What the name of a file says: whether it is data, and what it is called without its kind.

    >>> is_data("train.JSONL.gz"), is_data("dataset_info.json")
    (True, False)

Where it sits: asked where files are found in folders and archives; one that is given by itself may have any name.
"""

import re
from pathlib import Path

PACKED = (".gz", ".zst")
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".zip")
ABOUT = re.compile(r"(dataset_infos?|state|dataset_dict|manifest|package|config)\.json", re.IGNORECASE)
"""Files that describe data and hold none."""


def is_data(name: str) -> bool:
    """Whether a file of this name is taken for data in a folder or an archive."""
    lower = name.lower()
    for packed in PACKED:
        lower = lower.removesuffix(packed)
    return lower.endswith(SUFFIXES) and not ABOUT.fullmatch(name)


def stem(path: Path) -> str:
    """The name of what is at a path, without what says how it is written.

    >>> stem(Path("data/mine.JSONL.gz")), stem(Path("data/mine.v2"))
    ('mine', 'mine.v2')
    """
    name = path.name or path.resolve().name
    while name.lower().endswith((*PACKED, *SUFFIXES)):
        name = name[: name.rindex(".")]
    return name or path.name
