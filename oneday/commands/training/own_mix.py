"""The mix of `--data`: the first command that names the user's own files makes the run's mix from them.

Where it sits: below `rehearse`, `plan` and `train`.
"""

from collections.abc import Sequence
from pathlib import Path

from core.encoding.rendering import Loss
from core.example.layout import Layout
from core.manifest import record
from core.model.folder import tokenizer_fingerprint
from core.records.hub import is_hub_name
from core.records.name import stem
from core.stage import DROPPED, Stage, locked
from harness.base_model import load_tokenizer
from harness.data.dataset import DROPPED as DATASET_DROPPED
from harness.data.dataset import SAMPLE, Dataset, long_notes
from harness.data.own_mix import OwnMixDetails, OwnMixParameters, own_mix
from harness.data.share import DataFile
from harness.data.split import SplitParameters
from harness.data.template import Template
from harness.errors import DataError
from oneday.display.console import Console
from oneday.requests.training import TrainingRequest


def data_files(request: TrainingRequest) -> list[DataFile]:
    """The files that `--data` names.

    Raises:
        DataError: A mix is given as well, or a share is invalid.
    """
    if request.mix is not None:
        raise DataError("`data=` with `mix=`: both are training data. Give one of them.")
    return [DataFile.parse(text) for text in request.data]


def run_of(files: Sequence[DataFile]) -> Path:
    """The default run folder, named after the first file."""
    first = files[0].path
    return Path("runs") / (first.partition("@")[0].replace("/", "_") if is_hub_name(first) else stem(Path(first)))


def data_mix(
    request: TrainingRequest, run: Path, *, base: Path, seed: int, pairs: bool, redo: bool, console: Console | None
) -> Stage:
    """The run's mix of these files; an existing one is reused.

    Args:
        pairs: Take the pairs of answers that a preference objective trains.

    Raises:
        DataError: A file cannot be read, or has no example to train on.
    """
    files = data_files(request)
    parameters = OwnMixParameters(
        seed=seed,
        split=SplitParameters(validation_share=request.validation_share),
        loss=Loss(request.loss),
        template=Template(request.template),
        layout=Layout(request.layout) if request.layout else None,
        pairs=pairs,
    )
    with locked(run):
        stage = own_mix(
            run,
            files,
            parameters,
            tokenizer=load_tokenizer(base) if any(file.share for file in files) else None,
            tokenizer_name=tokenizer_fingerprint(base),
            redo=redo,
        )
        details = stage.details(OwnMixDetails)
        record(run, "data", {"files": [file.path for file in files], **stage.inputs, "counts": details})
    if console:
        show_mix(stage, console)
    return stage


def show_mix(stage: Stage, console: Console) -> None:
    """Shows the numbers of examples that are used and left out."""
    details = stage.details(OwnMixDetails)
    for note in details.notes:
        console.say(note)
    tallies = stage.summary().tallies.values()
    dropped = ", ".join(f"{n:,} {reason}" for tally in tallies for reason, n in tally.dropped.items())
    console.say(
        f"mix: {details.train_rows:,} training examples, {details.validation_rows:,} validation examples"
        + (f"; left out: {dropped} ({stage.path(DROPPED)})" if dropped else "")
    )


def show_dataset(dataset: Dataset, console: Console) -> None:
    """Shows how many tokens of the mix are trained, and how long examples are handled."""
    train = dataset.train
    share = 100 * train.num_answer_tokens / train.num_tokens
    console.say(
        f"tokens: {train.num_tokens:,} in {train.num_rows:,} rows, {train.num_answer_tokens:,} of them trained "
        f"({share:.1f} %); {dataset.train.path.with_name(SAMPLE)} marks them"
    )
    if dataset.chat_template:
        console.say(dataset.chat_template)
    if dataset.num_dropped:
        console.say(f"{dataset.num_dropped:,} examples are left out: {train.path.with_name(DATASET_DROPPED)}")
    for note in long_notes(dataset):
        console.say(note)
