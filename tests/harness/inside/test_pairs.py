"""Preferences on the real Axolotl: pairs are rendered here, and what is measured is what is trained."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from core.encoding.example_ids import ExampleEncoder, PairIds
from core.errors import DataError
from core.example.example import Message, Preference, Role, Unusable
from core.example.mix_line import MixExample, as_line, read_line
from core.files import file_sha256, read_jsonl
from core.model.language_model import LanguageModel
from core.model.token_ids import IGNORED_LABEL
from core.run_folder import OUTPUT, TRAIN
from harness.axolotl_process import Launcher
from harness.base_model import load_tokenizer
from harness.checkpoint.loss import PairLosses
from harness.checkpoint.pick import read_picked
from harness.data.dataset import prepare_dataset, read_dataset_rows
from harness.data.own_mix import OwnMixParameters, own_mix
from harness.data.share import DataFile
from harness.inside.events import Evaluation
from harness.inside.pairs import PairCollator, pair_rows
from harness.job import TrainJob
from harness.recipe import read_recipe
from harness.run import train
from harness.supervise import BATCHES, SCHEDULE, events_of
from oneday.demo.demo import DEMO_BASE
from tests.harness.inside.test_exact import SLOW, killing
from tests.harness.test_run import make_job

RECIPE = Path(__file__).parents[2] / "data" / "recipes" / "pairs.yml"
COLOURS = ("red", "green", "blue", "grey")


def pair(prompt: str, chosen: str, rejected: str) -> MixExample:
    asked = Message(role=Role.USER, content=prompt, is_trained=False)
    sides = [(Message(role=Role.ASSISTANT, content=text),) for text in (chosen, rejected)]
    return MixExample(
        id="1", source="x", example=Preference(prompt=(asked,), chosen=sides[0], rejected=sides[1])
    )  # fmt: skip


def write_pairs(folder: Path) -> Path:
    """A mix of 40 pairs: the chosen answer names the colour that was asked for."""
    rows = [
        {
            "prompt": f"Item {n} is {COLOURS[n % 4]}. Which colour is it?",
            "chosen": f"It is {COLOURS[n % 4]}.",
            "rejected": "I do not know. " * (1 + n % 3),
        }
        for n in range(40)
    ]
    folder.mkdir(parents=True)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return own_mix(folder / "run", [DataFile(str(folder / "pairs.jsonl"))], OwnMixParameters(pairs=True)).directory


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "data")


def pair_job(folder: Path, mix: Path, **changes: object) -> TrainJob:
    recipe = read_recipe(RECIPE)
    return replace(make_job(folder, mix, DEMO_BASE, budget_s=900.0), recipe=recipe.model_copy(update=changes))


# --- what is trained


@pytest.mark.parametrize(("chosen", "rejected"), [("user", " x"), ("a", "user says a"), ("x ", "é")])
def test_an_answer_is_trained_as_it_stands(chosen: str, rejected: str) -> None:
    """Axolotl's own strategy finds another answer, for it searches for the text in a rendered dialogue."""
    tokenizer = load_tokenizer(DEMO_BASE)
    encoder = ExampleEncoder(tokenizer=tokenizer)
    (found,) = encoder.encode_pairs([pair("Say a, user.", chosen, rejected)])
    assert isinstance(found, PairIds)
    end = encoder.renderer.end
    for side, text in ((found.chosen, chosen), (found.rejected, rejected)):
        labelled = [token for token, label in zip(side.input_ids, side.labels, strict=True) if label != IGNORED_LABEL]
        expected = encoder.renderer.prompt([Message(role=Role.USER, content="Say a, user.")], text + end).text
        assert tokenizer.decode(side.input_ids) == expected
        assert tokenizer.decode(labelled).strip() == (text + end).strip()


def test_a_pair_survives_its_line_and_what_is_none_says_so() -> None:
    item = pair("Which?", "This.", "That.")
    line = json.loads(json.dumps(as_line(item)))
    read = read_line(line).example
    assert isinstance(read, Preference)
    assert replace(read, description=item.example.description) == item.example
    encoder = ExampleEncoder(tokenizer=load_tokenizer(DEMO_BASE))
    told = encoder.encode_pairs([read_line({"instruction": "a", "input": "", "output": "b"})])[0]
    assert isinstance(told, Unusable)
    assert told.reason == "no_rejected_answer"


def test_the_table_holds_both_sides_and_a_long_pair_is_dropped_whole(tmp_path: Path, mix: Path) -> None:
    lines = (mix / "train.jsonl").read_text().splitlines()
    long = json.loads(lines[0])
    long["rejected"][0]["content"] = "word " * 400
    other = tmp_path / "mix"
    other.mkdir()
    (other / "train.jsonl").write_text("\n".join([json.dumps(long), *lines[1:]]) + "\n")
    (other / "validation.jsonl").write_text((mix / "validation.jsonl").read_text())
    table = prepare_dataset(other, base=DEMO_BASE, sequence_len=256, out=tmp_path / "table", pairs=True)
    assert (table.train.num_rows, table.num_dropped) == (2 * (len(lines) - 1), 1)
    assert next(read_jsonl(tmp_path / "table" / "dropped.jsonl"))["reason"] == "too_long"
    pairs = pair_rows(table.train.path)
    rows = read_dataset_rows(table.train.path, DEMO_BASE)
    assert (len(pairs), pairs[3]["chosen_input_ids"]) == (len(lines) - 1, list(rows[6].input_ids))
    assert table.lengths()[3] == pairs[3]["length"] == len(rows[6].input_ids) + len(rows[7].input_ids)
    batch = PairCollator(0)([pairs[0], pairs[1]])
    assert batch["input_ids"].shape[0] == 4
    assert batch["completion_mask"][2].sum() == rows[1].num_answer_tokens, "rejected sides follow the chosen ones"


def test_files_without_pairs_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    with pytest.raises(DataError, match=r"no usable example \(1 no_rejected_answer\)"):
        own_mix(tmp_path / "run", [DataFile(str(tmp_path / "chats.jsonl"))], OwnMixParameters(pairs=True))


# --- what is measured


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, mix: Path, axolotl: Launcher) -> TrainJob:
    job = pair_job(tmp_path_factory.mktemp("trained"), mix, max_steps=6)
    result = train(job, SLOW, launch=axolotl)
    assert (result.steps, result.stop_reason) == (6, "epochs")
    return job


def evaluations(job: TrainJob) -> list[Evaluation]:
    return [event for event in events_of(job.run / TRAIN) if isinstance(event, Evaluation)]


@pytest.mark.slow
def test_the_first_loss_is_that_of_the_reference_and_preferences_are_learnt(trained: TrainJob) -> None:
    first = next(read_jsonl(trained.run / TRAIN / BATCHES))
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)
    found = evaluations(trained)
    assert [event.step for event in found] == [1, 3, 6]
    assert found[-1].validation_loss < found[0].validation_loss < math.log(2)
    assert found[-1].reward_accuracy == 1.0
    assert found[-1].reward_margin is not None
    assert found[-1].reward_margin > 1


@pytest.mark.slow
def test_the_picker_measures_what_the_trainer_measured_and_swapped_sides_negate_margins(trained: TrainJob) -> None:
    rows = read_dataset_rows(trained.dataset().validation.path, DEMO_BASE)
    adapter = trained.run / "08_pick" / read_picked(trained.run).adapter
    losses = PairLosses(DEMO_BASE, precision="4bit", rows=rows, beta=0.1)
    assert losses.mean(adapter) == pytest.approx(evaluations(trained)[-1].validation_loss, rel=1e-3)
    swapped = [row for n in range(0, len(rows), 2) for row in (rows[n + 1], rows[n])]
    other = PairLosses(DEMO_BASE, precision="4bit", rows=swapped, beta=0.1)
    for loss, against in zip(losses.sums(adapter, [0, 1]), other.sums(adapter, [0, 1]), strict=True):
        margin = -math.log(math.expm1(loss))
        assert against == pytest.approx(math.log1p(math.exp(margin)), rel=1e-4)
    LanguageModel.load(DEMO_BASE, lora_adapter=adapter)


@pytest.mark.slow
def test_beta_scales_the_rewards(tmp_path: Path, mix: Path, trained: TrainJob, axolotl: Launcher) -> None:
    """Adam's first step does not depend on the size of the gradient, so that the rewards grow with beta alone."""
    job = pair_job(tmp_path, mix, max_steps=1)
    job = replace(job, recipe=job.recipe.model_copy(update={"further": {**job.recipe.further, "rl_beta": 0.05}}))
    train(job, SLOW, launch=axolotl)
    half, whole = evaluations(job)[0].reward_margin, evaluations(trained)[0].reward_margin
    assert half is not None
    assert whole is not None
    assert half / whole == pytest.approx(0.5, rel=0.05)


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bytes(tmp_path: Path, trained: TrainJob, axolotl: Launcher) -> None:
    followed = replace(trained, run=tmp_path / "run", follow_plan=trained.run / TRAIN / SCHEDULE)
    launch, observe = killing(axolotl, {4})
    again = train(followed, SLOW, launch=launch, on_event=observe)
    assert again.steps == 6
    whole, found = (
        {record["step"]: record for record in read_jsonl(job.run / TRAIN / BATCHES)} for job in (trained, followed)
    )
    assert found == whole
    assert len({record["batch"] for record in found.values()}) == 6
    name = "checkpoint-6/adapter_model.safetensors"
    hashes = [file_sha256(job.run / TRAIN / OUTPUT / name) for job in (trained, followed)]
    assert all(a == b for a, b in itertools.pairwise(hashes))
