"""The pipeline of curation, read from top to bottom: five stages, each resumable, each accounting for every row.

    curate(Curation(run=Path("runs/demo"), tasks=(Path("tasks"),), predictor=..., parameters=CurationParameters()))

Where it sits: composes the stages of this package; the command line calls it.
"""

from pathlib import Path

from core.stage import locked
from curation.stages.context import Curation
from curation.stages.mix import mix_stage
from curation.stages.predictions import predict_stage
from curation.stages.samples import sample_stage
from curation.stages.scores import score_stage
from curation.stages.tasks import select_stage


def curate(curation: Curation) -> Path:
    """Runs what is not done yet; returns the folder of the mix.

    Raises:
        OnedayError: an input cannot be used, or the run folder was made with others. What is done stays.
    """
    with locked(curation.run):
        chosen = select_stage(curation)
        asked = predict_stage(curation, chosen)
        scored = score_stage(curation, asked)
        sampled = sample_stage(curation, chosen, scored)
        return mix_stage(curation, sampled).directory
