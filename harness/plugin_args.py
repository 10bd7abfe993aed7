"""The keys of our own that a configuration may hold. Axolotl merges them into its schema; others it would drop."""

from pydantic import BaseModel


class OnedayArgs(BaseModel):
    """Read by harness/axolotl_plugin.py."""

    oneday_events: str | None = None
    """JSON-lines file that the plugin reports to."""
    oneday_plan: str | None = None
    """JSON-lines file of `harness.schedule.Segment`."""
    oneday_deadline: float | None = None
    """Unix time at which the last evaluation and save must be over."""
    oneday_keep: int | None = None
    """Checkpoints kept by rotation."""
    oneday_eval_s: float | None = None
    """What an evaluation cost in the rehearsal: known before the first one of a run, or of a resumed run."""
    oneday_save_s: float | None = None
    """Likewise a save."""
