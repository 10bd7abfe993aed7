"""GGUF files as llama.cpp itself loads them: `make export-test`."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from core.encoding.table import TableRow, write_table
from core.model.quantisation import Quantisation
from core.model.token_ids import rows_ids
from harness.base_model import load_tokenizer
from oneday.cli import main
from submission.errors import ExportError
from submission.export.export import Export, export
from submission.export.gguf import ARCHITECTURES, check_architecture, write_gguf
from submission.export.llama_cpp.program import LlamaCpp
from submission.export.modelfile import ALPACA, chat_template
from submission.export.other_program import SAME_NUMBERS, check, measure
from tests.conftest import DEMO_BASE
from tests.programs import installed
from tests.submission.conftest import TEXTS
from tests.submission.export.test_modelfile import LLAMA_2, QWEN

PLAIN = Quantisation.of("fp32", on_gpu=False)


@pytest.fixture(scope="module")
def llama() -> Path:
    return installed("llama.cpp", "export-test")


def small_model(folder: Path, architecture: str) -> Path:
    """Random weights of an architecture, with the demo's tokenizer for transformers."""
    import transformers

    model_class = getattr(transformers, architecture)
    sizes = {
        "vocab_size": 768, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 0, "initializer_range": 0.2, "architectures": [architecture],
    }  # fmt: skip
    torch.manual_seed(1)
    model_class(model_class.config_class(**sizes)).save_pretrained(folder)
    for path in DEMO_BASE.glob("tokenizer*.json"):
        shutil.copy(path, folder / path.name)
    write_sentencepiece(folder)
    return folder


def write_sentencepiece(folder: Path) -> None:
    """A small SentencePiece model, trained here: every accepted architecture's converter reads it."""
    import sentencepiece

    words = [f"{a}{b}" for a in ("to", "re", "la", "mi", "so") for b in ("n", "st", "ng", "x", "pe", "q", "ld")]
    lines = [f"{a} {b} {a}{b} {n}" for n, a in enumerate(words) for b in words] + TEXTS * 9
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "tokenizer"), vocab_size=512, model_type="bpe",
        byte_fallback=True, character_coverage=1.0, minloglevel=2,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_accepted_architecture_has_the_logits_of_transformers(
    llama: Path, tmp_path: Path, architecture: str
) -> None:
    model = small_model(tmp_path / "model", architecture)
    check_architecture(model)
    write_gguf(model, tmp_path / "model.gguf", kind="f32", name="model")
    rng = random.Random(3)
    prompts = [tuple(rng.randrange(3, 500) for _ in range(length)) for length in (3, 20, 70)]  # ids, and no texts
    other = LlamaCpp(environment=llama, gguf=tmp_path / "model.gguf")
    measured = measure(prompts, base=model, lora_adapter=None, quantisation=PLAIN, other=other)
    assert measured.num_texts == 0
    check(measured, SAME_NUMBERS, model, other.name)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "largest"), [("f32", 5e-3), ("f16", 0.05), ("q8_0", 1.0)])
def test_a_run_goes_out_as_a_gguf_file_that_was_measured(
    llama: Path, run: Path, capsys: pytest.CaptureFixture[str], kind: str, largest: float
) -> None:
    """With a special token in each prompt, ids are given to both programs: see the next test about texts."""
    rows = rows_ids(load_tokenizer(DEMO_BASE), [(f"{text} </s> again:", " yes") for text in TEXTS])
    write_table(run / "07_train" / "data" / "validation.parquet", [TableRow(id="", ids=ids) for ids in rows])
    with pytest.raises(SystemExit) as e:
        main(["export", str(run), "--to", "ollama", "--gguf-type", kind, "--environment", str(llama), "--json"])
    seen = capsys.readouterr()
    assert e.value.code == 0, seen.err
    measured = json.loads(seen.out.splitlines()[-1])["measured"]
    assert (measured["num_prompts"], measured["num_texts"], measured["top_1"]) == (3, 0, 1.0)
    assert measured["largest_difference"] < largest, measured
    folder = run / "09_export" / "ollama"
    assert sorted(path.name for path in folder.iterdir()) == [
        "Modelfile", "README.md", "manifest.json", f"run-{kind}.gguf",
    ]  # fmt: skip
    card = (folder / "README.md").read_text()
    assert "This folder was loaded by llama.cpp and compared with the run's server on 3 validation prompts" in card
    assert "library_name: gguf" in card
    assert f"llama-server -m run-{kind}.gguf" in card
    assert (folder / "Modelfile").read_text().startswith(f"FROM ./run-{kind}.gguf\nTEMPLATE")


@pytest.mark.slow
def test_a_tokenizer_that_llama_cpp_reads_otherwise_is_an_error(llama: Path, run: Path) -> None:
    """The converter does not write the merges of the demo's tokenizer, so llama.cpp splits one text in another way."""
    with pytest.raises(ExportError, match="same ids for 2 of 3 texts"):
        export(Export(run=run, to="gguf", gguf="f32", llama=llama), command="x")


@pytest.mark.slow
def test_another_model_in_the_file_is_an_error(llama: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the adapter had been forgotten."""
    monkeypatch.setattr(
        "submission.export.export._write_merged", lambda model, out, *more: shutil.copytree(model.base, out)
    )
    with pytest.raises(ExportError, match=r"gguf: loaded by llama.cpp, it is another model than the run's: largest"):
        export(Export(run=run, to="gguf", llama=llama), command="x")
    assert not (run / "09_export" / "gguf").exists()


GO = """package main

import ("encoding/json"; "os"; "text/template")

type Message struct { Role, Content string }
type Asked struct { Template, System, Prompt, Response string; Messages []Message }

func main() {
    var all []Asked
    if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil { panic(err) }
    found := []string{}
    for _, asked := range all {
        file, _ := os.CreateTemp("", "")
        if err := template.Must(template.New("").Parse(asked.Template)).Execute(file, asked); err != nil { panic(err) }
        text, _ := os.ReadFile(file.Name())
        os.Remove(file.Name())
        found = append(found, string(text))
    }
    json.NewEncoder(os.Stdout).Encode(found)
}
"""


def by_go(tmp_path: Path, asked: Sequence[dict[str, Any]]) -> list[str]:
    (tmp_path / "main.go").write_text(GO)
    done = subprocess.run(
        ["go", "run", str(tmp_path / "main.go")], input=json.dumps(list(asked)), capture_output=True, text=True,
        check=False, env={**os.environ, "GOCACHE": str(tmp_path / "cache"), "GOFLAGS": "-mod=mod"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="Go, whose templates Ollama uses, is not installed")
def test_go_renders_the_templates_as_this_project_says(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(DEMO_BASE)
    turns = [("user", "Hello."), ("assistant", "Hi."), ("user", "Bye.\n\nNow.")]
    asked: list[dict[str, Any]] = []
    wanted = []
    for jinja in (None, QWEN, LLAMA_2):
        found, _ = chat_template(tokenizer, template=jinja)
        for conversation in (turns[:1], turns, [("system", "Be brief."), *turns]):
            system = "Be brief." if conversation[0][0] == "system" else ""
            messages = [{"Role": role, "Content": content} for role, content in conversation]
            asked.append({"Template": found.go(), "System": system, "Messages": messages})
            wanted.append(found.render(conversation))
    asked.append({"Template": ALPACA, "Prompt": "Say it."})
    wanted.append("### Instruction:\nSay it.\n\n### Response:\n")
    assert by_go(tmp_path, asked) == wanted
