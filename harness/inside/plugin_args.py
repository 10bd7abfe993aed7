"""The keys of our own that a configuration may hold. Axolotl merges them into its schema; others it would drop."""

from pydantic import BaseModel


class OnedayArgs(BaseModel):
    """Read by harness/axolotl_plugin.py."""

    oneday_events: str | None = None
    """JSON-lines file that the plugin reports to."""
    oneday_plan: str | None = None
    """JSON-lines file of `harness.budget.schedule.Segment`."""
    oneday_follow_plan: bool = False
    """Take the plan as it is and end where it ends."""
    oneday_packs: str | None = None
    """The pack plan (`harness.pack`)."""
    oneday_batches: str | None = None
    """JSON-lines file with the hash, rate and loss of every step."""
    oneday_deadline: float | None = None
    """On the uptime clock: when the last evaluation and save must be over."""
    oneday_keep: int | None = None
    """Checkpoints kept by rotation."""
    oneday_job: str | None = None
    """Stands in the seal of every checkpoint."""
    oneday_eval_s: float | None = None
    """What an evaluation cost in the rehearsal: known before the first one of a run, or of a resumed run."""
    oneday_save_s: float | None = None
    """Likewise a save."""
    oneday_rehearsal: bool = False
    """A few steps, no early checkpoint; and packed samples are proven not to see each other."""
    oneday_memory_gib: float | None = None
    """Of the card that is planned for: a larger one is used up to that."""
    oneday_neftune: float | None = None
    """Alpha of noise that is scaled by sample (`harness.inside.neftune`)."""
    oneday_token_weighted: bool = False
    """Weight every answer token of a step alike, whatever its micro-batch."""
