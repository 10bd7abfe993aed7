"""The plugin's own configuration keys. Axolotl merges them into its schema and drops unknown keys."""

from typing import Any

from pydantic import BaseModel


class OnedayArgs(BaseModel):
    """The keys that harness/inside/plugin.py reads."""

    oneday_events: str | None = None
    """JSON-lines file to which the plugin appends its events."""
    oneday_plan: str | None = None
    """JSON-lines file of `harness.budget.schedule.Segment`."""
    oneday_curve: dict[str, Any] | None = None
    """Fields of `harness.budget.curve.Curve`."""
    oneday_follow_plan: bool = False
    """Follow the plan file without changing it, and end where it ends."""
    oneday_pause_at: int = 0
    """Step after which training stops, to be continued later; 0: none."""
    oneday_packs: str | None = None
    """File with the batches of the run (`harness.data.pack`)."""
    oneday_batches: str | None = None
    """JSON-lines file with the hash, learning rate and loss of every step."""
    oneday_deadline: float | None = None
    """Time on the uptime clock by which the last evaluation and save must be over."""
    oneday_keep: int | None = None
    """Number of checkpoints that rotation keeps."""
    oneday_job: str | None = None
    """Identifier of the run in the seal of every checkpoint."""
    oneday_eval_s: float | None = None
    """Seconds of an evaluation in the rehearsal, used until the run has measured its own."""
    oneday_save_s: float | None = None
    """Seconds of a save in the rehearsal."""
    oneday_rehearsal: bool = False
    """Run a few steps without an early checkpoint, and measure whether packed samples attend to each other."""
    oneday_memory_gib: float | None = None
    """Memory of the planned card. On a larger card, no more than this is used."""
    oneday_neftune: float | None = None
    """Alpha of the NEFTune noise that is scaled per sample (`harness.inside.neftune`)."""
    oneday_ema: float | None = None
    """Decay of the exponential moving average of the weights (`harness.inside.ema`); None: it is not kept."""
    oneday_token_weighted: bool = False
    """Give every answer token of a step the same weight in the loss, regardless of its micro-batch."""
