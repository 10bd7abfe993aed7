"""Items from the datasets hub, fetched once into a file that is scored from then on.

    path = fetched("google/IFEval@966cd89")          # runs/items/google--IFEval@966cd89.jsonl

A branch may move on; the file does not, and its hash stands in every responses file's manifest.

Where it sits: below suites; core/records/hub.py asks the hub.
"""

from pathlib import Path

import orjson

from core.files import atomic_writer
from core.records.hub import hub_records
from core.records.record import Record
from evaluation.errors import EvaluationError

FOLDER = Path("runs/items")


def fetched(name: str, folder: Path = FOLDER) -> Path:
    """The file with the rows of a data set's `train` split.

    Args:
        name: `OWNER/NAME`, `OWNER/NAME/CONFIGURATION`, either with `@REVISION`.

    Raises:
        DataError: the hub does not have it, or cannot be reached.
        EvaluationError: it has no rows.
    """
    path = folder / f"{name.replace('/', '--')}.jsonl"
    if path.is_file():
        return path
    rows = [dict(record.columns) for record in hub_records(name) if isinstance(record, Record)]
    if not rows:
        raise EvaluationError(f"{name}: no rows in it. Check the name and its configuration.")
    with atomic_writer(path) as file:
        for row in rows:
            file.write(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE))
    return path
