"""Writes the folder of a finished run without training, for tests of commands that read one."""

from dataclasses import asdict
from pathlib import Path

from core.encoding.table import TableRow, write_table
from core.files import file_sha256, write_json, write_jsonl
from core.manifest import record
from core.model.folder import model_fingerprint
from core.stage import Stage, Summary, Tally
from harness.budget.clock import Clock
from harness.budget.rehearse import REHEARSAL, Rehearsal
from harness.checkpoint.content import RESUME_FILES
from harness.checkpoint.pick import pick
from harness.checkpoint.seal import seal
from harness.data.dataset import read_dataset_rows
from harness.ledger.ledger import Ledger
from harness.recipe import read_recipe
from oneday.commands.compare import run_compare
from oneday.commands.training.job import Setting, training_job
from oneday.demo.demo import DEMO_BASE, RECIPE
from oneday.display.console import Console
from oneday.requests.looking import CompareRequest
from oneday.requests.training import TrainRequest
from tests.conftest import write_small_mix
from tests.harness.checkpoint.adapters import write_adapters

STEPS = (10, 20)
LOSSES = (1.5, 1.25)


def write_finished_run(run: Path) -> Path:
    """Writes a mix, two sealed checkpoints with real adapters, their events, a closed ledger, a pick and a manifest."""
    mix = write_small_mix(run / "05_mix", 20, 8)
    _write_training(run, mix)
    _write_rehearsal(run, mix)
    recipe = read_recipe(RECIPE)
    described = {
        "train": file_sha256(mix / "train.jsonl"), "validation": file_sha256(mix / "validation.jsonl"),
        "base": model_fingerprint(DEMO_BASE), "recipe": recipe.model_dump(), "card": "cpu", "follow_plan": None,
        "budget_s": 100.0, "clock": "strict", "mix_path": str(mix), "base_path": str(DEMO_BASE), "base_licence": None,
        "steps": STEPS[-1], "because": "deadline", "tokens_per_s": 500.0,
    }  # fmt: skip
    record(run, "train", described)
    output = run / "07_train" / "output"
    record(run, "pick", asdict(pick(run=run, output=output, base=DEMO_BASE, precision="4bit")))
    run_compare(CompareRequest(run=run, questions=2, max_new_tokens=2), Console())
    return run


def _write_rehearsal(run: Path, mix: Path) -> None:
    setting = Setting.of(TrainRequest(mix=mix, config=RECIPE, card="cpu", base=DEMO_BASE, run=run))
    stage = Stage(run / "06_plan", inputs=training_job(setting, budget_s=100.0).inputs())
    measured = Rehearsal(
        prepare_s=0.1, load_s=10.0, step_s=0.1, eval_s=0.5, save_s=0.1, verify_s=0.01, peak_memory_gib=None, wall_s=15.0
    )  # fmt: skip
    write_json(stage.path(REHEARSAL), asdict(measured))
    stage.finish(Summary())


def _write_training(run: Path, mix: Path) -> None:
    stage = Stage(run / "07_train", inputs={"made": "for tests"})
    output = stage.path("output")
    names = {f"checkpoint-{step}": noise for step, noise in zip(STEPS, (0.2, 0.1), strict=True)}
    for folder, step, loss in zip(write_adapters(output, DEMO_BASE, names), STEPS, LOSSES, strict=True):
        for name in RESUME_FILES:
            (folder / name).write_text("x")
        seal(folder, step=step, validation_loss=loss)
    rows = [TableRow(id="", ids=ids) for ids in read_dataset_rows(mix / "validation.jsonl", DEMO_BASE)]
    write_table(stage.path("data") / "validation.parquet", rows)
    up = [1_000.0]
    clock = Clock(up=lambda: up[0], wall=lambda: 50_000.0 + up[0], boot=lambda: "a boot")
    ledger = Ledger.start(run / "ledger.jsonl", budget_s=100, clock=clock)
    events = [{"event": "train_begin", "step": 0}]
    for number, step in enumerate(range(1, STEPS[-1] + 1)):
        events.append({"event": "step", "step": step, "loss": 3 - 0.1 * step, "learning_rate": 1e-3, "horizon": 20})
        events[-1] |= {"tokens": 500 * number}
        if step in STEPS:
            loss = LOSSES[STEPS.index(step)]
            events.append({"event": "evaluate", "step": step, "validation_loss": loss, "seconds": 0.5})
    ledger.enter("train")
    for number, event in enumerate(events):
        event |= {"t": 51_001.0 + number, "up": 1_001.0 + number, "pid": 1}
    up[0] += 60
    ledger.stop()
    write_jsonl(stage.path("metrics.jsonl"), events)
    plan = [{"step": 0, "progress": 0.0, "horizon": 20, "reason": "rehearsal"}]
    write_jsonl(stage.path("plan.jsonl"), [*plan, {"step": 20, "progress": 1.0, "horizon": 20, "reason": "end: plan"}])
    batches = [{"step": n, "batch": f"{n:016x}", "lr": 1e-3, "loss": 1.0} for n in range(1, STEPS[-1] + 1)]
    write_jsonl(stage.path("batches.jsonl"), batches)
    write_jsonl(stage.path("packs.jsonl"), [])
    details = {"steps": STEPS[-1], "because": "deadline", "tokens_per_s": 500.0, "ledger": asdict(ledger.report())}
    stage.finish(Summary(tallies={"row": Tally(read=28, kept=28)}, details=details))
