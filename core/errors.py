"""The errors that a user can correct.

    OnedayError                 exit code 2: the message says what, where and how to mend
    ├── StageError              a run folder made with other inputs, or damaged
    ├── TaskError               a task folder or file
    ├── SelectionError          a task list, a kind override
    ├── PredictionError         a model, a stored prediction
    ├── ScoreError              references, a ROUGE implementation
    ├── SourceError             a data source of the mix
    ├── MixError                the mix itself
    ├── HarnessError            see harness/errors.py
    └── SubmissionError         see submission/errors.py
    Interrupted                 exit code 3: stopped by a signal, can be resumed

A broken invariant is an `AssertionError`, a bug, exit code 1.
"""


class OnedayError(Exception):
    """Base of all errors that a user can correct. The message is one line: what, where, and how to correct it."""

    exit_code = 2


class StageError(OnedayError):
    """A run folder was made with other inputs, or its files are not what its marker says."""


class TaskError(OnedayError):
    """A task folder or task file cannot be used."""


class SelectionError(OnedayError):
    """A selection rule, task list or override cannot be applied."""


class PredictionError(OnedayError):
    """A model or a file of stored predictions cannot be used."""


class ScoreError(OnedayError):
    """A score cannot be computed."""


class SourceError(OnedayError):
    """A data source is missing, unreadable or too small."""


class MixError(OnedayError):
    """The mix cannot be built."""


class Interrupted(Exception):  # noqa: N818
    """Stopped by a signal in a state that can be resumed. The message tells how to resume."""

    exit_code = 3
