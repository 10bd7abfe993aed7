"""The names in a run folder: numbered, so that opening it in order tells the story.

    runs/200k/
      00_base        merged weights of a parent run     05_table       these rows as token ids
      00_own         own rows as tasks
      01_tasks       chosen tasks and instances         06_plan        the rehearsal
      02_predictions the base model's answers           06_probe       learning rates that were tried
      03_scores      a score per answer, buckets        07_train       the trainer's output
      04_samples     which rows, and why not others     08_pick        the picked checkpoint
      05_mix         the rows that are trained on       09_export      what is handed over
                                                        10_scores      base against tuned

What `build` makes has one stage, `01_rows`.

Where it sits: at the bottom; the packages find each other's results by these names.
"""

PARENT = "00_base"
OWN = "00_own"
TASKS, PREDICTIONS, SCORES, SAMPLES, MIX = "01_tasks", "02_predictions", "03_scores", "04_samples", "05_mix"
CURATION = (TASKS, PREDICTIONS, SCORES, SAMPLES, MIX)
TABLE, PLAN, PROBE, TRAIN = "05_table", "06_plan", "06_probe", "07_train"
OUTPUT = "output"
"""In `TRAIN`: the checkpoints."""
PICK, EXPORT, SCORED = "08_pick", "09_export", "10_scores"
ROWS = "01_rows"
