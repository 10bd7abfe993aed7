"""The errors that a user can correct.

    OnedayError                 exit code 2: the message says what, where and how to mend
    ├── StageError              a run folder made with other inputs, or damaged
    ├── TaskError               a task folder or file
    ├── DataError               a file of examples
    ├── SelectionError          a task list, a kind override
    ├── PredictionError         a model, a stored prediction
    ├── MergeError              an adapter that cannot be merged into its base
    ├── ScoreError              references, a ROUGE implementation
    ├── SourceError             a data source of the mix
    ├── MixError                the mix itself
    ├── FileError               a file or folder that cannot be read or written; an `OSError` too
    ├── ClusterError            Ray, or the cluster that it should find
    ├── MissingPackage          a package of an extra that is not installed; an `ImportError` too
    ├── HarnessError            see harness/errors.py
    ├── EvaluationError         see evaluation/errors.py
    ├── StudyError              see studies/errors.py
    └── SubmissionError         see submission/errors.py
    Interrupted                 exit code 3: stopped by a signal, can be resumed

Everything else is a bug, exit code 1 with a traceback: a broken invariant (`AssertionError`), an `OSError` that
`core.files` does not know as the user's, a module that is missing and belongs to no extra.
"""


class OnedayError(Exception):
    """Base of all errors that a user can correct. The message is one line: what, where, and how to correct it."""

    exit_code = 2


class StageError(OnedayError):
    """A run folder was made with other inputs, or its files are not what its marker says."""


class TaskError(OnedayError):
    """A task folder or task file cannot be used."""


class DataError(OnedayError):
    """A file, folder or archive of examples cannot be read."""


class SelectionError(OnedayError):
    """A selection rule, task list or override cannot be applied."""


class PredictionError(OnedayError):
    """A model or a file of stored predictions cannot be used."""


class MergeError(OnedayError):
    """An adapter cannot be merged into its base."""


class ScoreError(OnedayError):
    """A score cannot be computed."""


class SourceError(OnedayError):
    """A data source is missing, unreadable or too small."""


class MixError(OnedayError):
    """The mix cannot be built."""


class FileError(OnedayError, OSError):
    """A file or folder of the user's cannot be read or written. Made as `FileError(errno, strerror, filename)`."""

    def __str__(self) -> str:
        """The line that the user sees."""
        return f"{self.filename or 'the system'}: {self.strerror}. Check path, permissions and space."


class ClusterError(OnedayError):
    """Ray is not installed, or there is no cluster."""


class MissingPackage(OnedayError, ImportError):  # noqa: N818
    """A package is not installed; the message names the extra that brings it."""


class Interrupted(Exception):  # noqa: N818
    """Stopped by a signal in a state that can be resumed. The message tells how to resume."""

    exit_code = 3
