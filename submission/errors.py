"""The submission's part of the error tree. See curation/errors.py.

SubmissionError             exit code 2
├── ServeError              no model to serve, or no place to serve it
├── TableError              a table of results that cannot be read, scored or drawn
├── ExportError             nothing to export, or it cannot be merged
├── HelmError               HELM cannot be installed, or a run of it failed
└── RequestError            one request that is not answered; an HTTP status, never the end of the server
    ├── OverlongError       400: its prompt does not fit the model's window, and such are refused
    ├── QueueFullError      503: too many wait
    ├── TooLargeError       503: alone it takes more memory than there is
    ├── ClosingError        503: the server ends
    ├── BrokenError         503: the model has ended, for good
    ├── DeadlineError       504: it took too long
    └── GoneError           its client went away: nobody hears of it
"""

from core.errors import OnedayError


class SubmissionError(OnedayError):
    """Base of the submission's errors."""


class ServeError(SubmissionError):
    """The server cannot start."""


class TableError(SubmissionError):
    """A table of results cannot be scored."""


class HelmError(SubmissionError):
    """HELM cannot be installed or run."""


class ExportError(SubmissionError):
    """A result cannot be exported."""


class RequestError(SubmissionError):
    """A request is not answered."""


class OverlongError(RequestError):
    """A prompt does not fit the window."""


class QueueFullError(RequestError):
    """Too many requests wait."""


class TooLargeError(RequestError):
    """One request alone is too large for the card's memory."""


class ClosingError(RequestError):
    """The server ends before an answer."""


class BrokenError(RequestError):
    """The model's thread has ended."""


class DeadlineError(RequestError):
    """A request took too long."""


class GoneError(RequestError):
    """The client went away."""
