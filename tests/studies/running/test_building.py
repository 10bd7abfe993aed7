"""The data of a study: curation's builders, then a mix with a validation part; each in a folder of its own."""

import json
from pathlib import Path

import pytest

from core.errors import OnedayError
from harness.data.template import Template
from studies.arm import resolve_arms
from studies.identity import data_key
from studies.running.building import LONG, Mix, build_data
from studies.stage import Stage
from studies.study import Study
from tests.studies.studies import SMALL, study_of

SIZES = {
    **{f"sources.{name}.rows": 40 for name in ("en", "fi")},
    **{f"sources.pairs-{name}.rows": 20 for name in ("en", "fi")},
}


def built(study: Study, folder: Path) -> dict[tuple[str, str], Mix]:
    """(arm, stage) -> its mix."""
    arms = resolve_arms(study)
    mixes = build_data(study, arms, folder=folder, on_progress=lambda line: None)
    return {
        (arm.name, stage.name): mixes[data_key(stage, study, seed=arm.seed, template=arm.template)]
        for arm in arms.values()
        for stage in arm.stages.values()
    }


@pytest.fixture
def study(tmp_path: Path) -> Study:
    for language in ("en", "fi"):
        rows = [{"instruction": f"{language} {n}?", "output": f"{language} {n}."} for n in range(40)]
        pairs = [{"prompt": f"{language} {n}?", "chosen": "yes, indeed", "rejected": f"no {n}"} for n in range(20)]
        for name, lines in ((f"{language}.jsonl", rows), (f"pairs_{language}.jsonl", pairs)):
            (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return study_of(SMALL, tmp_path, {"data_folder": str(tmp_path), **SIZES})


def texts(mix: Mix) -> str:
    return "".join((mix.path / name).read_text() for name in ("train.jsonl", "validation.jsonl"))


def test_arms_that_read_the_same_share_a_mix_and_others_do_not(study: Study, tmp_path: Path) -> None:
    mixes = built(study, tmp_path / "run")
    assert mixes["whole", "sft"] == mixes["dpo-both", "sft"]
    assert len({mixes[arm, "sft"].sha256 for arm in ("whole", "tenth", "masked")}) == 3
    assert sum(line.count('"fi ') for line in texts(mixes["tenth", "sft"]).splitlines()) > 0
    num_rows = {arm: texts(mixes[arm, "sft"]).count("\n") for arm in ("whole", "tenth", "masked")}
    assert num_rows == {"whole": 80, "tenth": 44, "masked": 80}
    assert texts(mixes["dpo-en", "dpo"]).count('"rejected"') == 20
    assert texts(mixes["dpo-both", "dpo"]).count('"rejected"') == 40


def test_the_same_data_gives_the_same_hashes_and_a_changed_row_those_that_hold_it(study: Study, tmp_path: Path) -> None:
    first = built(study, tmp_path / "run")
    assert built(study, tmp_path / "again") == {
        key: Mix(path=tmp_path / "again" / mix.path.relative_to(tmp_path / "run"), sha256=mix.sha256)
        for key, mix in first.items()
    }
    file = tmp_path / "pairs_fi.jsonl"
    file.write_text(file.read_text().replace("no 3", "no three"))
    changed = built(study, tmp_path / "run")
    assert {key for key in first if first[key].sha256 != changed[key].sha256} == {("dpo-both", "dpo")}


def test_a_source_that_is_missing_or_of_another_size_is_refused(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "pairs_en.jsonl"
    rows = file.read_text().splitlines(keepends=True)
    file.write_text("".join(rows[1:]))
    with pytest.raises(OnedayError, match=r"dpo\.data: .*19 instead of 20"):
        built(study, tmp_path / "run")
    file.unlink()
    with pytest.raises(OnedayError, match=r"sources\.pairs-en\.path: .*pairs_en\.jsonl does not exist"):
        built(study, tmp_path / "run")


@pytest.mark.parametrize(
    ("template", "columns"), [("alpaca", {"instruction", "input", "output"}), ("chat", {"messages"})]
)
def test_what_a_builder_makes_is_trained_in_the_studys_template(
    template: str, columns: set[str], study: Study, tmp_path: Path
) -> None:
    mixes = built(study.model_copy(update={"template": Template(template)}), tmp_path / "run")
    rows = [json.loads(line) for line in texts(mixes["tenth", "sft"]).splitlines()]
    assert all(columns <= row.keys() for row in rows)


def test_pairs_with_long_prompts_are_left_out_with_their_reason(study: Study, demo_base: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "en 1? " * n, "chosen": "yes", "rejected": "no"} for n in (1, 2, 400)]
    (tmp_path / "pairs_en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"dpo.max_prompt_tokens": 40, "sources.pairs-en.rows": 3, "base": str(demo_base)}
    changes |= {"models": {str(demo_base): {"parameters": 1e6}}, "arms.whole.skip": ["dpo"]}
    limited = study_of(SMALL, tmp_path, {**study.model_dump(include={"data_folder"}), **SIZES, **changes})
    mixes = built(limited, tmp_path / "run")
    assert texts(mixes["dpo-en", "dpo"]).count('"rejected"') == 2
    dropped = [json.loads(line) for line in (mixes["dpo-en", "dpo"].path.parent / LONG).read_text().splitlines()]
    assert [(row["reason"], row["unit"]) for row in dropped] == [("prompt_too_long", "pair")]
    assert "limit 40" in dropped[0]["detail"]
    with pytest.raises(OnedayError, match=r"all 23 prompts of .* are longer"):
        built(limited.model_copy(update={"stages": _limited(limited, 1)}), tmp_path / "other")


def _limited(study: Study, limit: int) -> tuple[Stage, ...]:
    return tuple(
        stage.model_copy(update={"max_prompt_tokens": limit}) if stage.max_prompt_tokens else stage
        for stage in study.stages
    )


MIX = """
study: ready
about: a mix that is trained on as it stands
base: models/base
models: {models/base: {parameters: 1.0e8}}
card: rtx4090
budget: 1h
sources: {mix: {path: mix, rows: 2, tokens: 9}}
stages:
  - {name: sft, kind: sft, data: {build: rows, source: mix}, weights: lora, learning_rate: 1.0e-5, max_steps: 2}
anchor: plain
arms:
  plain: {}
"""
PROMPTED = {"instruction": "Say it.", "input": "", "output": "it"}
CHAT = {"messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "it"}]}


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        (PROMPTED, {}, ""),
        (PROMPTED, {"sft.loss": "responses", "template": "alpaca"}, ""),
        (CHAT, {"template": "chat"}, ""),
        (CHAT, {"template": "alpaca"}, ""),  # as everywhere, conversations keep the chat template
        (PROMPTED, {"sft.loss": "all"}, r"sft\.loss: all: the rows of .*mix say themselves which tokens count"),
        (CHAT, {"sft.loss": "last"}, r"sft\.loss: last: the rows of .*mix say themselves"),
        (PROMPTED, {"template": "chat"}, r"template: chat: the rows of .* are instructions, which train in the"),
    ],
)
def test_what_a_mix_that_stands_cannot_obey_is_refused(
    row: dict[str, object], changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "mix").mkdir()
    for name in ("train.jsonl", "validation.jsonl"):
        (tmp_path / "mix" / name).write_text(json.dumps(row) + "\n")
    study = study_of(MIX, tmp_path, {"data_folder": str(tmp_path), **changes})
    if not message:
        assert built(study, tmp_path / "run")["plain", "sft"].path == tmp_path / "mix"
        return
    with pytest.raises(OnedayError, match=message) as e:
        built(study, tmp_path / "run")
    assert "\n" not in str(e.value)
