"""The pipeline of curation: five stages. Each can be resumed, and each accounts for every row.

    curate(Curation(run=Path("runs/demo"), tasks=(Path("tasks"),), predictor=..., parameters=CurationParameters()))

Where it sits: called by the command line; it runs the stages of this package.
"""

from pathlib import Path

from core.stage import locked
from curation.asking.rounds import with_rounds
from curation.stages.context import Curation
from curation.stages.mix import mix_stage
from curation.stages.predictions import predict_stage
from curation.stages.samples import sample_stage
from curation.stages.scores import score_stage
from curation.stages.tasks import select_stage


def curate(curation: Curation) -> Path:
    """Runs the stages that are not finished and returns the folder of the mix.

    Raises:
        OnedayError: an input cannot be used, or the run folder was made with other inputs. Finished stages stay.
    """
    with locked(curation.run):
        chosen = select_stage(curation)
        curation, asked = with_rounds(curation, chosen)
        predicted = predict_stage(curation, chosen, asked)
        scored = score_stage(curation, predicted)
        sampled = sample_stage(curation, chosen, scored)
        return mix_stage(curation, sampled).directory
