"""What a training on own data would leave out, and where it stands: the mix and its table, made in a temporary folder.

    checked = check_training([DataFile.parse("mine.jsonl")], OwnMixParameters(), sequence_len=2048, base=base)
    checked.problems, checked.left_out

The same code writes the mix of a run, so a training with the same options leaves out what is listed here, and nothing
else.

Where it sits: own_mix and dataset -> **check** -> `oneday check`.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.encoding.long_example import LongExamples
from core.errors import OnedayError
from core.files import read_jsonl
from core.run_folder import MIX
from core.stage import DROPPED, Dropped
from harness.base_model import load_tokenizer
from harness.data.dataset import long_notes, prepare_dataset
from harness.data.own_mix import OwnMixDetails, OwnMixParameters, own_mix
from harness.data.share import DataFile


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCheck:
    """What was found."""

    problems: tuple[Dropped, ...]
    """Records that hold no example: something to mend. `source` is the place."""
    left_out: tuple[Dropped, ...]
    """Good examples that would not be trained on. `source` is the place."""
    notes: tuple[str, ...]
    failure: str = ""
    """Why there would be no training at all; empty: there would be one."""


def check_training(
    files: Sequence[DataFile],
    parameters: OwnMixParameters,
    *,
    base: Path | None = None,
    sequence_len: int | None = None,
    long_examples: LongExamples = LongExamples.AUTO,
) -> TrainingCheck:
    """Makes the mix, and with a base and a length the table, and throws both away.

    Raises:
        OnedayError: a file cannot be read, or an option does not fit.
    """
    tokenizer = load_tokenizer(base) if base else None
    with tempfile.TemporaryDirectory(prefix="oneday-") as scratch:
        run = Path(scratch)
        failure, notes, of_table = "", list[str](), tuple[Dropped, ...]()
        try:
            stage = own_mix(run, files, parameters, tokenizer=tokenizer)
            notes += stage.details(OwnMixDetails).notes
            if base and sequence_len:
                out = run / "table"
                dataset = prepare_dataset(
                    stage.directory, base=base, sequence_len=sequence_len, out=out, long_examples=long_examples
                )
                notes += long_notes(dataset)
                of_table = tuple(_read(out / DROPPED))
        except OnedayError as e:
            failure = str(e)
        of_mix = tuple(_read(run / MIX / DROPPED))
    return TrainingCheck(
        problems=tuple(dropped for dropped in of_mix if dropped.unit == "record"),
        left_out=(*(dropped for dropped in of_mix if dropped.unit != "record"), *of_table),
        notes=tuple(notes),
        failure=failure,
    )


def _read(path: Path) -> Iterator[Dropped]:
    """The records of a `dropped.jsonl`; none if it is not there."""
    for line in read_jsonl(path) if path.is_file() else ():
        yield Dropped(**{name: value for name, value in line.items() if name != "stage"})
