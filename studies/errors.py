"""The studies' part of the error tree. See core/errors.py.

StudyError                  exit code 2
├── SelectionRefused        no candidate of a sweep can be chosen
└── LinkError               a stage's input is not what its parent wrote
"""

from core.errors import OnedayError


class StudyError(OnedayError):
    """A study cannot be read, planned or run as it is written."""


class SelectionRefused(StudyError):  # noqa: N818
    """No candidate of a sweep can be chosen."""


class LinkError(StudyError):
    """A stage's input is not what its parent wrote."""
