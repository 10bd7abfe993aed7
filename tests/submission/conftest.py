import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from core.encoding.table import TableRow, write_table
from core.files import write_json
from core.model.folder import model_fingerprint
from core.model.quantisation import Quantisation
from core.model.token_ids import rows_ids
from harness.base_model import load_tokenizer
from harness.checkpoint.content import RESUME_FILES
from harness.checkpoint.pick import pick
from harness.checkpoint.seal import seal
from harness.ledger.ledger import Ledger
from tests.conftest import DEMO_BASE
from tests.harness.checkpoint.adapters import write_adapters

NF4 = Quantisation.of("4bit", on_gpu=False)
TEXTS = ["### Response:\nThe plate of Fay is hot.", "Anna gave the lamp to Ben.", "red, blue, green"]


@pytest.fixture(scope="module")
def lora_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapters(tmp_path_factory.mktemp("adapters"), DEMO_BASE, {"checkpoint-10": 0.1})[0]


@pytest.fixture
def run(tmp_path: Path, lora_adapter: Path) -> Path:
    """A finished run with one checkpoint, trained in 4 bits."""
    run = tmp_path / "run"
    checkpoint = Path(shutil.copytree(lora_adapter, run / "07_train" / "output" / "checkpoint-10"))
    for name in RESUME_FILES:
        (checkpoint / name).write_text("x")
    seal(checkpoint, step=10, validation_loss=1.25)
    rows = rows_ids(load_tokenizer(DEMO_BASE), [(text, " yes") for text in TEXTS])
    write_table(run / "07_train" / "data" / "validation.parquet", [TableRow(id="", ids=ids) for ids in rows])
    ledger = Ledger.start(run / "ledger.jsonl", budget_s=100)
    ledger.stop()
    recipe = {"lora_r": 4, "lora_alpha": 8, "base_model": None, "optimizer": "adamw_torch", "learning_rate": 0.003}
    counts = {"rows_by_source": {"ni|x": 1200, "lima": 10}, "rows_by_spdx": {"Apache-2.0": 1200, "CC-BY-4.0": 10}}
    report = {"budget_s": 100.0, "charged_s": 61.5, "by_phase": {"train": 60.0, "pick": 1.5}}
    write_json(
        run / "manifest.json",
        {
            "versions": {"oneday": "0.1.0", "torch": "2.13.0"},
            "curate": {"base_path": str(DEMO_BASE), "counts": counts},
            "train": {
                "card": "cpu", "steps": 10, "because": "deadline", "recipe": recipe, "ledger": report,
                "base": model_fingerprint(DEMO_BASE), "base_path": str(DEMO_BASE), "quantisation": asdict(NF4),
            },
        },
    )  # fmt: skip
    pick(run=run, output=run / "07_train" / "output", base=DEMO_BASE, precision="4bit")
    return run
