"""The submission's part of the error tree. See curation/errors.py.

SubmissionError             exit code 2
└── ServeError              no model to serve, or no place to serve it
"""

from curation.errors import OnedayError


class SubmissionError(OnedayError):
    """Base of the submission's errors."""


class ServeError(SubmissionError):
    """The server cannot start."""
