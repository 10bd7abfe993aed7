"""The submission's part of the error tree. See core/errors.py.

SubmissionError             exit code 2
├── ServeError              no model to serve, or no place to serve it
├── TableError              a table of results that cannot be read, scored or drawn
├── ExportError             nothing to export, or it cannot be merged
├── PackageError           a submission's folder cannot be written
├── HelmError               HELM cannot be installed, or its run failed
└── RequestError            one request that is not answered: an HTTP status, never the end of the server
    ├── OverlongError       400: the prompt does not fit the context window, and overlong prompts are refused
    ├── PromptError         400: the prompt cannot be read
    ├── UnknownModelError   404: another model is asked for than the one that is served
    ├── QueueFullError      503: too many requests are waiting
    ├── TooLargeError       503: the request alone needs more memory than there is
    ├── ClosingError        503: the server is shutting down
    ├── BrokenError         503: the model's thread has ended
    ├── DeadlineError       504: the deadline has passed
    └── GoneError           the client has disconnected; the error is only logged
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


class PackageError(SubmissionError):
    """A submission's folder cannot be written."""


class RequestError(SubmissionError):
    """A request is not answered."""


class OverlongError(RequestError):
    """A prompt does not fit the context window."""


class PromptError(RequestError):
    """Token ids outside the vocabulary, or a conversation that the chat template cannot show."""


class UnknownModelError(RequestError):
    """Another model is asked for than the one that is served."""


class QueueFullError(RequestError):
    """Too many requests are waiting."""


class TooLargeError(RequestError):
    """One request alone is too large for the GPU's memory."""


class ClosingError(RequestError):
    """The server shuts down before the answer."""


class BrokenError(RequestError):
    """The model's thread has ended."""


class DeadlineError(RequestError):
    """The request's deadline has passed."""


class GoneError(RequestError):
    """The client has disconnected."""
