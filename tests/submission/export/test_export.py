import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from core.encoding.table import TableRow, write_table
from core.errors import MergeError
from core.example.prompt import training_prompt
from core.files import read_json, write_json
from core.model.folder import model_fingerprint
from core.model.language_model import LanguageModel
from core.model.merge import as_trained, linear_names, merge, read_deltas
from core.model.quantisation import Quantisation
from core.model.token_ids import encode, rows_ids
from harness.base_model import load_tokenizer
from harness.checkpoint.pick import pick
from harness.ledger.ledger import Ledger
from oneday.cli import main
from oneday.demo.tasks import DEMO_TASKS, draw_pairs
from oneday.local_server import ask, local_server
from oneday.requests.submission import ServeRequest
from submission.errors import ExportError
from submission.export.agreement import compare
from submission.export.export import Export, export
from submission.export.gguf import check_architecture
from tests.conftest import DEMO_BASE
from tests.harness.checkpoint.test_trained_base import other_weights
from tests.submission.conftest import NF4, TEXTS

PLAIN = Quantisation.of("fp32", on_gpu=False)


def logits(base: Path, adapter: Path | None, precision: str | Quantisation | None) -> list[torch.Tensor]:
    model = LanguageModel.load(base, lora_adapter=adapter, precision=precision)  # type: ignore[arg-type]
    with torch.inference_mode():
        return [model.model(input_ids=torch.tensor([model.encode(text)])).logits[0].float() for text in TEXTS]


def test_merged_onto_the_same_rounded_base_the_logits_are_those_of_base_and_adapter(
    tmp_path: Path, lora_adapter: Path
) -> None:
    merge(DEMO_BASE, lora_adapter, tmp_path, quantisation=NF4, dtype="fp32")
    found = compare(logits(DEMO_BASE, lora_adapter, "4bit"), logits(tmp_path, None, "fp32"))
    assert found.largest_difference <= 1e-3
    assert found.top_1 == 1.0


def test_without_the_round_trip_they_are_not(tmp_path: Path, lora_adapter: Path) -> None:
    merge(DEMO_BASE, lora_adapter, tmp_path, quantisation=PLAIN, dtype="fp32")
    assert compare(logits(DEMO_BASE, lora_adapter, "4bit"), logits(tmp_path, None, "fp32")).largest_difference > 1e-2
    exact = compare(logits(DEMO_BASE, lora_adapter, "fp32"), logits(tmp_path, None, "fp32"))
    assert exact.largest_difference <= 1e-4


def test_the_output_layer_and_the_embeddings_are_not_rounded(tmp_path: Path, lora_adapter: Path) -> None:
    assert not any("lm_head" in name or "embed" in name for name in linear_names(DEMO_BASE))
    merge(DEMO_BASE, lora_adapter, tmp_path, quantisation=NF4, dtype="fp32")
    before = load_file(next(DEMO_BASE.glob("*.safetensors")))
    after = load_file(next(tmp_path.glob("*.safetensors")))
    assert set(before) == set(after)
    for name in before:
        untouched = "embed" in name or "lm_head" in name or "norm" in name
        assert torch.equal(before[name].float(), after[name].float()) is untouched, name
        if "o_proj" in name:  # no adapter on it: rounded alone
            assert torch.equal(as_trained(before[name], NF4, is_rounded=True), after[name])


def test_bf16_halves_the_weights_and_says_so(tmp_path: Path, lora_adapter: Path) -> None:
    merge(DEMO_BASE, lora_adapter, tmp_path, quantisation=NF4, dtype="bf16")
    assert {t.dtype for t in load_file(next(tmp_path.glob("*.safetensors"))).values()} == {torch.bfloat16}
    assert read_json(tmp_path / "config.json")["torch_dtype"] == "bfloat16"
    found = compare(logits(DEMO_BASE, lora_adapter, "4bit"), logits(tmp_path, None, "bf16"))
    assert found.top_1 > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora is set"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is set"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern is set"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            "init_lora_weights is pissa_niter_4, so that it was trained on changed",
        ),
    ],
)
def test_more_than_plain_lora_is_not_merged(
    tmp_path: Path, lora_adapter: Path, change: dict[str, object], message: str
) -> None:
    other = Path(shutil.copytree(lora_adapter, tmp_path / "other"))
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(MergeError, match=message):
        read_deltas(other)


def test_rank_stabilised_lora_has_its_own_scale(tmp_path: Path, lora_adapter: Path) -> None:
    other = Path(shutil.copytree(lora_adapter, tmp_path / "other"))
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": True}))
    assert {d.scale for d in read_deltas(lora_adapter).values()} == {2.0}
    assert {d.scale for d in read_deltas(other).values()} == {4.0}
    merge(DEMO_BASE, other, tmp_path / "merged", quantisation=PLAIN, dtype="fp32")
    found = compare(logits(DEMO_BASE, other, "fp32"), logits(tmp_path / "merged", None, "fp32"))
    assert found.largest_difference <= 1e-4


def test_a_frozen_weight_beside_the_adapter_is_the_bases_own(tmp_path: Path, lora_adapter: Path) -> None:
    """PEFT writes it where the output layer has an adapter, as Axolotl gives GPT-NeoX one."""
    other = Path(shutil.copytree(lora_adapter, tmp_path / "other"))
    weights = load_file(other / "adapter_model.safetensors")
    frozen = {"base_model.model.lm_head.base_layer.weight": torch.zeros(2, 2)}
    save_file(weights | frozen, other / "adapter_model.safetensors")
    assert set(read_deltas(other)) == set(read_deltas(lora_adapter))


def test_an_adapter_of_another_base_is_refused(tmp_path: Path, lora_adapter: Path) -> None:
    other = Path(shutil.copytree(lora_adapter, tmp_path / "other"))
    weights = load_file(other / "adapter_model.safetensors")
    save_file({k.replace("layers.0.", "layers.9."): v for k, v in weights.items()}, other / "adapter_model.safetensors")
    with pytest.raises(MergeError, match="is no weight of the base"):
        merge(DEMO_BASE, other, tmp_path / "merged", quantisation=PLAIN, dtype="fp32")


def test_the_adapter_goes_out_with_a_card_that_hubs_read(run: Path) -> None:
    exported = export(Export(run=run, check=False), command="oneday export run")
    assert (exported.agreement, exported.measured) == (None, None)
    LanguageModel.load(DEMO_BASE, lora_adapter=exported.folder)
    text = (exported.folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["qlora", "axolotl", "oneday"],
    }
    for part in (
        "| ni\\|x | 1,200 |", "| CC-BY-4.0 | 10 |", "| budget | 1m02s of 1m40s |", "1.2500 (nats per answer token)",
        "oneday export run",
        "torch 2.13.0", "None measured yet", "## Limits", "No other program was run on this export.",
        "--lora-modules run=. --max-lora-rank 8 --quantization bitsandbytes", "oneday export RUN --to gguf",
    ):  # fmt: skip
        assert part in body, part
    assert str(DEMO_BASE) not in text + (exported.folder / "manifest.json").read_text()


def test_merged_weights_go_out_with_what_they_differ_by(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(
        run / "10_scores" / "comparison.json",
        [{"group": "overall", "num": 9, "base": 0.5, "tuned": 0.75, "low": 0.1, "high": 0.4, "p": 0.01}],
    )
    with pytest.raises(SystemExit) as e:
        main(["export", str(run), "--merge", "fp32", "--json"])
    assert e.value.code == 0
    seen = capsys.readouterr()
    result = json.loads(seen.out.splitlines()[-1])
    assert result["agreement"]["largest_difference"] <= 1e-3
    card = (run / "09_export" / "merged" / "README.md").read_text()
    assert "same most likely token at 100.00%" in card
    assert "| overall | 9 | 0.500 | 0.750 | [+0.100, +0.400] |" in card
    (result,) = ModelCard(card).data.eval_results  # the hub's own reader
    assert (result.metric_value, result.metric_args["base"], result.metric_args["interval_of_difference"]) == (
        0.75, 0.5, [0.1, 0.4],
    )  # fmt: skip
    assert dict(Ledger.of_run(run / "ledger.jsonl").report().not_charged or {})["export"] > 0
    served = LanguageModel.load(run / "09_export" / "merged")
    assert served.generate(["### Response:\n"], max_new_tokens=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "no such folder"),
        (["."], "nothing picked in it"),
        ([".", "--merge", "int8"], "Use fp32 or bf16"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str],
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as e:
        main(["export", *arguments])
    assert e.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_gguf_is_refused_for_an_architecture_that_was_never_compared(run: Path, tmp_path: Path) -> None:
    config = read_json(DEMO_BASE / "config.json") | {"architectures": ["FalconForCausalLM"]}
    write_json(tmp_path / "config.json", config)
    with pytest.raises(ExportError, match="FalconForCausalLM was never compared as GGUF"):
        check_architecture(tmp_path)
    with pytest.raises(SystemExit) as e:
        main(["export", str(run), "--to", "adapter", "--gguf-type", "f16"])
    assert e.value.code == 2


@pytest.mark.parametrize("why", ["the base in training is not here", "the run has no validation rows with prompts"])
def test_a_gguf_file_that_cannot_be_compared_is_an_error(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    command = ["export", str(run), "--to", "gguf"]
    if "base" in why:
        picked = read_json(run / "08_pick" / "picked.json")
        write_json(run / "08_pick" / "picked.json", picked | {"base_model": str(tmp_path / "gone")})
        command += ["--base", str(other_weights(tmp_path)), "--base-changed-on-purpose"]
    else:
        (run / "07_train" / "data" / "validation.parquet").unlink()
    with pytest.raises(SystemExit) as e:
        main(command)
    assert e.value.code == 2
    error = capsys.readouterr().err
    assert f"the GGUF file cannot be compared with the run's server: {why}. --no-check writes it" in error
    assert not (run / "09_export").exists()


def test_a_push_without_a_network_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from oneday.commands.export import push_to_hub

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    exported = export(Export(run=run, check=False), command="x")
    with pytest.raises(ExportError, match=r"`push=owner/name`: .* check the name and the network"):
        push_to_hub(exported.folder, "owner/name")


def test_another_layout_of_the_weights_beside_them_is_left_alone(tmp_path: Path, lora_adapter: Path) -> None:
    base = Path(shutil.copytree(DEMO_BASE, tmp_path / "base"))
    shutil.copy(base / "model.safetensors", base / "consolidated.safetensors")
    merge(base, lora_adapter, tmp_path / "merged", quantisation=PLAIN, dtype="fp32")
    assert [p.name for p in (tmp_path / "merged").glob("*.safetensors")] == ["model.safetensors"]


# --- what goes out is the model that was picked


def exported_adapter(run: Path) -> Path:
    return export(Export(run=run, check=False), command="oneday export run").folder


def test_nothing_that_goes_out_names_a_folder_of_this_machine(run: Path) -> None:
    write_json(run / "07_train" / "data" / "dataset.json", {})
    folder = exported_adapter(run)
    config = read_json(folder / "adapter_config.json")
    assert config["base_model_name_or_path"] is None
    for path in folder.iterdir():
        if path.suffix in (".json", ".md", ".jinja"):
            assert not re.search(r'"/|`/|\(/| /(work|home|root|tmp)/', path.read_text()), path.name
    assert read_json(run / "08_pick" / "adapter" / "adapter_config.json")["base_model_name_or_path"] == str(DEMO_BASE)


def test_the_tokenizer_goes_out_with_the_adapter(run: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported_adapter(run))
    assert tokenizer.get_vocab() == LanguageModel.load(DEMO_BASE).tokenizer.get_vocab()


def test_card_and_manifest_say_how_the_base_was_kept(run: Path) -> None:
    folder = exported_adapter(run)
    assert read_json(folder / "trained_base.json") == {
        "quantisation": {"load_in_4bit": True, "compute_dtype": "float32", "quant_type": "nf4", "double_quant": True,
                         "load_in_8bit": False},
        "fingerprint": model_fingerprint(DEMO_BASE), "name": None, "revision": None,
    }  # fmt: skip
    assert "4 bits (NF4 with double quantisation), computed in float32" in (folder / "README.md").read_text()


@pytest.fixture
def on_the_hub(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's base, called as on the hub; that name is a folder here, which transformers takes without a network."""
    shutil.copytree(DEMO_BASE, tmp_path / "org" / "small")
    manifest = read_json(run / "manifest.json")
    manifest["train"]["recipe"]["base_model"] = "org/small"
    manifest["train"]["base_path"] = str(tmp_path / "org" / "small")
    write_json(run / "manifest.json", manifest)
    pick(run=run, output=run / "07_train" / "output", base=tmp_path / "org" / "small", precision="4bit")
    monkeypatch.chdir(tmp_path)
    return exported_adapter(run)


def greedy(model: Any, text: str) -> list[int]:
    tokenizer = LanguageModel.load(DEMO_BASE).tokenizer
    ids = torch.tensor([[tokenizer.bos_token_id, *encode(tokenizer, text, bos=False)]])
    found: list[int] = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
    )[0].tolist()
    return found


def test_peft_alone_loads_it_by_the_hubs_name(on_the_hub: Path) -> None:
    assert read_json(on_the_hub / "adapter_config.json")["base_model_name_or_path"] == "org/small"
    options = {"dtype": torch.float32, **NF4.load_options()}
    loaded = AutoPeftModelForCausalLM.from_pretrained(on_the_hub, **options).eval()
    ours = LanguageModel.load(DEMO_BASE, lora_adapter=on_the_hub, precision=NF4).model
    assert [greedy(loaded, text) for text in TEXTS] == [greedy(ours, text) for text in TEXTS]


@pytest.mark.parametrize("named", [True, False])
def test_the_code_in_the_card_loads_what_was_trained(
    run: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    folder = request.getfixturevalue("on_the_hub") if named else exported_adapter(run)
    (code,) = re.findall(r"```python\n([\s\S]*?)```", (folder / "README.md").read_text())
    assert ('from_pretrained("org/small"' in code) is named
    code = code.replace('"org/small"', repr(str(DEMO_BASE))).replace(
        f'"PATH/TO/{DEMO_BASE.name}"', repr(str(DEMO_BASE))
    )
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(code, names)
    ours = LanguageModel.load(DEMO_BASE, lora_adapter=run / "08_pick" / "adapter", precision=NF4).model
    assert [greedy(names["model"].eval(), text) for text in TEXTS] == [greedy(ours, text) for text in TEXTS]
    assert len(names["tokenizer"]) == 768


def forty_prompts() -> list[str]:
    rng = random.Random(7)
    pairs = [(task, query) for task in DEMO_TASKS for query, _ in draw_pairs(task, rng, 3)]
    return [training_prompt(task.definition, query) for task, query in rng.sample(pairs, 40)]


@pytest.mark.slow
def test_the_exported_adapter_is_served_as_the_run_is(run: Path, tmp_path: Path) -> None:
    prompts, folder = forty_prompts(), exported_adapter(run)
    answers = []
    for checkpoint, options in (
        (run, {}), (folder, {"base": DEMO_BASE}), (folder, {"base": DEMO_BASE, "precision": "fp32"}),
    ):  # fmt: skip
        with local_server(ServeRequest(checkpoint=checkpoint, **options), log=tmp_path / "server.log") as url:
            answers.append(ask(url, prompts, max_new_tokens=24))
        assert "warning" not in (tmp_path / "server.log").read_text()
    assert sum(a == b for a, b in zip(answers[0], answers[1], strict=True)) == 40
    assert sum(a == b for a, b in zip(answers[0], answers[2], strict=True)) < 40  # or this would show nothing


# --- onto which base


def agreement_of(capsys: pytest.CaptureFixture[str], *options: object) -> tuple[Any, str]:
    with pytest.raises(SystemExit) as e:
        main(["export", *map(str, options), "--merge", "fp32", "--json"])
    seen = capsys.readouterr()
    assert e.value.code == 0, seen.err
    return json.loads(seen.out.splitlines()[-1])["agreement"], seen.err


def test_merged_onto_another_base_on_purpose_the_check_is_against_the_one_in_training(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = other_weights(tmp_path)
    found, _ = agreement_of(capsys, run, "--base", other, "--base-changed-on-purpose")
    assert found["largest_difference"] > 0.5
    card = (run / "09_export" / "merged" / "README.md").read_text()
    assert "another one than in training" in card
    assert "trained on `other`" in card


def test_without_the_base_in_training_nothing_is_said_to_agree(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = other_weights(tmp_path)
    picked = read_json(run / "08_pick" / "picked.json")
    write_json(run / "08_pick" / "picked.json", picked | {"base_model": str(tmp_path / "gone")})
    found, said = agreement_of(capsys, run, "--base", other, "--base-changed-on-purpose")
    assert found is None
    assert "not compared with base and adapter: the base in training is not at hand" in said


@pytest.mark.parametrize(
    "kept",
    [
        NF4,
        Quantisation.of("4bit", on_gpu=True),
        Quantisation(load_in_4bit=True, compute_dtype="bfloat16", quant_type="fp4", double_quant=False),
    ],
)
def test_a_weight_is_merged_as_the_loaded_model_has_it(kept: Quantisation) -> None:
    from bitsandbytes import functional

    files = load_file(DEMO_BASE / "model.safetensors")
    model = LanguageModel.load(DEMO_BASE, precision=kept).model
    for name in linear_names(DEMO_BASE):
        weight = model.get_submodule(name).weight
        held = functional.dequantize_4bit(weight.data, weight.quant_state)
        assert torch.equal(as_trained(files[f"{name}.weight"], kept, is_rounded=True), held), name


# --- another program loads what was written


@pytest.mark.parametrize("to", ["adapter", "merged"])
def test_what_was_written_is_measured_and_the_figures_stand_in_the_card(
    run: Path, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    (run / "08_pick" / "adapter" / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(SystemExit) as e:
        main(["export", str(run), "--to", to, "--json"])
    seen = capsys.readouterr()
    assert e.value.code == 0, seen.err
    measured = json.loads(seen.out.splitlines()[-1])["measured"]
    assert (measured["num_prompts"], measured["num_texts"], measured["num_same_ids"]) == (3, 3, 3)
    assert measured["largest_difference"] < 1.0
    assert measured["top_1"] == 1.0
    folder = run / "09_export" / to
    assert (
        "loaded by transformers and PEFT and compared with the run's server on 3 val"
        in (folder / "README.md").read_text()
    )
    assert (folder / "chat_template.jinja").read_text() == "{{ messages }}"  # the one of the training


def test_an_export_that_another_program_loads_as_another_model_is_an_error(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Merged onto weights that were not rounded as in training, as plain PEFT merges them."""
    real = merge

    def onto_plain_weights(*places: Path, quantisation: Quantisation, **more: Any) -> None:
        real(*places, quantisation=PLAIN, **more)

    monkeypatch.setattr("core.model.merge.merge", onto_plain_weights)
    with pytest.raises(SystemExit) as e:
        main(["export", str(run), "--merge", "fp32"])
    assert e.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "loaded by transformers and PEFT, it is another model than the run's: largest difference of a logit" in error
    assert "Nothing was exported; --no-check exports it all the same." in error
    assert not (run / "09_export" / "merged").exists()


def test_a_special_token_in_a_prompt_is_given_to_both_as_ids(run: Path) -> None:
    ids = rows_ids(load_tokenizer(DEMO_BASE), [("Write </s> and <s>.", " yes"), ("Write it.", " yes")])
    write_table(run / "07_train" / "data" / "validation.parquet", [TableRow(id="", ids=row) for row in ids])
    measured = export(Export(run=run), command="x").measured
    assert measured is not None
    assert (measured.num_prompts, measured.num_texts, measured.num_same_ids, measured.top_1) == (2, 1, 1, 1.0)
