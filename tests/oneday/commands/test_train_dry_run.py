import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oneday.cli import main

RECIPES = Path(__file__).parents[2] / "data" / "recipes"


def dry_run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    """The exit code, the last line as JSON, and stderr."""
    with pytest.raises(SystemExit) as e:
        main(["train", "--dry-run", "--json", *map(str, arguments)])
    said = capsys.readouterr()
    assert isinstance(e.value.code, int)
    return e.value.code, json.loads(said.out.splitlines()[-1]), said.err


def test_a_recipe_is_judged_by_its_keys_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, found, _ = dry_run(capsys, "--config", RECIPES / "qlora.yml")
    assert code == 0
    assert (found["accepted"], found["objective"], found["weights"]) == (True, "sft", "qlora")
    assert found["needs"] == ["gpu", "package flash-attn"]
    assert set(found["overruled"]) == {
        "dataset_prepared_path", "output_dir", "wandb_project", "group_by_length", "loss_watchdog_threshold",
        "saves_per_epoch",
    }  # fmt: skip
    assert found["unknown"] == ["gptq_groupsize"]


def test_one_that_cannot_be_trained_says_why_and_ends_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "kto.yml"
    recipe.write_text((RECIPES / "dpo.yml").read_text().replace("rl: dpo", "rl: kto"))
    code, found, said = dry_run(capsys, "--config", recipe)
    assert (code, found["accepted"], found["objective"]) == (2, False, "preference")
    assert f"error: {recipe}: {found['problem']}" in said


def test_the_card_that_was_named_must_be_able_to_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--dry-run", "--config", str(RECIPES / "qlora.yml"), "--card", "cpu"])
    said = capsys.readouterr().err
    assert "needs a GPU for attn_implementation: flash_attention_2, optimizer: adamw_bnb_8bit" in said


def test_it_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from oneday.cli import main\n"
        f"try: main(['train', '--dry-run', '--config', {str(RECIPES / 'qlora.yml')!r}])\n"
        "except SystemExit as e: sys.exit(e.code or len({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
