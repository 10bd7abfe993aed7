"""The harness's part of the error tree. See core/errors.py.

HarnessError                exit code 2
├── ConfigError             a recipe: unknown key, wrong value, unknown card
├── BudgetError             a budget that is unreadable or too small
├── DataError               a mix that cannot be trained on
├── CheckpointError         no complete checkpoint
└── TrainError              Axolotl failed in a way that the user can mend
    └── MemoryFullError     the card's memory was too small for a step
"""

from core.errors import OnedayError


class HarnessError(OnedayError):
    """Base of the harness's errors."""


class ConfigError(HarnessError):
    """A recipe or card cannot be used."""


class BudgetError(HarnessError):
    """A budget cannot be used."""


class DataError(HarnessError):
    """A mix cannot be trained on."""


class CheckpointError(HarnessError):
    """No usable checkpoint."""


class TrainError(HarnessError):
    """Axolotl did not train."""


class MemoryFullError(TrainError):
    """A step did not fit into the card's memory."""
