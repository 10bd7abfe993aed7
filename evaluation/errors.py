"""Evaluation's part of the error tree. See core/errors.py."""

from core.errors import OnedayError


class EvaluationError(OnedayError):
    """Responses or questions cannot be scored. Exit code 2."""
