"""What every GPU benchmark needs and no network gives: a random Mistral-7B, rows of the mix's lengths, the facts.

The weights are random: speed and memory do not depend on them, losses mean nothing. `tiny` is 2 layers of width 128
for a CPU, on which the scripts are tested; its figures are no one's. The package must be installed
(`pip install --no-deps .` will do), for the line names its version.
"""

import argparse
import json
import platform
import random
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation.libraries import give_back
from curation.tokens import TokenCounter
from harness.axolotl_config import AxolotlConfig, find_recipe, read_recipe, recipe_for
from harness.card import Card, get_card
from harness.dataset import read_mix
from harness.doctor import profile_of
from harness.flops import flops_per_token, hardware_utilisation
from harness.gpu import find_gpu
from harness.job import TrainJob
from harness.manifest import versions
from harness.memory import ModelShape

MISTRAL_7B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8,
}  # fmt: skip
TINY = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
VOCAB = 32_000
WORDS = (
    "a", "model", "reads", "the", "question", "about", "rivers", "and", "trains", "then", "writes", "one", "short",
    "plain", "answer", "in", "few", "words",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One card, one recipe, one base, one mix."""

    card: Card
    recipe: AxolotlConfig
    base: Path
    mix: Path
    work: Path
    tiny: bool

    def job(self, name: str, *, budget_s: float = 600.0, **changes: Any) -> TrainJob:
        """A run of its own; `changes` replace keys of the recipe."""
        recipe = AxolotlConfig(**(self.recipe.model_dump() | changes))
        return TrainJob(
            run=self.work / name, mix=self.mix, base=self.base, recipe=recipe, card=self.card, budget_s=budget_s,
            shared_card=False,
        )  # fmt: skip

    def note(self, line: dict[str, Any]) -> None:
        """A part's result at once, in `parts.jsonl`: a command that is cut off has not measured for nothing."""
        with (self.work / "parts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    @property
    def context(self) -> float:
        """Earlier tokens that a token of the mix attends to, in the mean."""
        lengths = json.loads((self.mix / "lengths.json").read_text())
        return sum(n * n / 2 for n in lengths) / sum(lengths)

    def facts(self, recipe: AxolotlConfig, tokens_per_s: float | None) -> dict[str, Any]:
        """Utilisation, card and versions: part of every line that is printed."""
        shape = ModelShape.of(self.base)
        per_token = flops_per_token(
            shape, r=recipe.lora_r, checkpointing=recipe.gradient_checkpointing, context=self.context
        )
        gpu = find_gpu() if self.card.is_gpu else None
        used = hardware_utilisation(tokens_per_s, per_token, profile_of(gpu)) if tokens_per_s else None
        return {
            "gflop_per_token": round(per_token / 1e9, 3),
            "hardware_utilisation": round(used, 4) if used is not None else None,
            "profile": self.card.name,
            "peak_of": profile_of(gpu).name,
            "card": asdict(gpu) if gpu else platform.processor() or "cpu",
            "versions": versions() | _torch(),
            "tiny": self.tiny,
        }


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all of them share."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--card", default="rtx4090", help="profile whose memory is kept to, and whose recipe is run")
    parser.add_argument("--config", type=Path, help="default: the card's recommended recipe")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="scratch; the base, 14 GB, is kept in it")
    parser.add_argument("--tiny", action="store_true", help="two layers on the CPU: whether the script works")
    return parser


def prepare(options: argparse.Namespace) -> Setting:
    """Writes base and mix once; a later script finds them."""
    card = get_card("cpu" if options.tiny else options.card)
    recipe = read_recipe(find_recipe(options.config or recipe_for(card)))
    if options.tiny:
        recipe = recipe.model_copy(update={"micro_batch_size": 1, "gradient_accumulation_steps": 1})
    base, mix = options.work / ("base-tiny" if options.tiny else "base"), options.work / "mix"
    if not (base / "done").is_file():
        write_base(base, TINY if options.tiny else MISTRAL_7B)
    if not (mix / "lengths.json").is_file():
        write_rows(mix, train=400 if options.tiny else 20_000, validation=16 if options.tiny else 400)
    return Setting(card=card, recipe=recipe, base=base, mix=mix, work=options.work, tiny=options.tiny)


def write_base(folder: Path, shape: dict[str, int]) -> None:
    """A random Mistral with the real tokenizer, as the hub's folder is laid out."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_tokenizer(folder)
    config = MistralConfig(
        vocab_size=VOCAB, sliding_window=4096, max_position_embeddings=32_768, bos_token_id=1, eos_token_id=2,
        dtype="bfloat16", **shape,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        MistralForCausalLM(config).save_pretrained(folder, max_shard_size="4GB")
    torch.set_default_dtype(torch.float32)
    give_back()
    (folder / "done").touch()


def write_tokenizer(folder: Path) -> None:
    """Mistral-7B-v0.1's, from the SentencePiece file that mistral-common carries, in the form of today's libraries.

    Their own conversion needs a protobuf newer than the pinned one.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaTokenizer
    from transformers.convert_slow_tokenizer import generate_merges

    pieces = SentencePieceProcessor(model_file=str(TokenCounter.mistral_7b().path))
    vocab = {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
    scores = [(piece, pieces.get_score(number)) for piece, number in vocab.items()]
    merges = generate_merges(vocab, scores)
    tokenizer = LlamaTokenizer(vocab=vocab, merges=merges, pad_token="</s>", add_bos_token=True)
    tokenizer.save_pretrained(folder)
    text = "A model reads the question, then writes 2 short answers."
    ours = tokenizer.encode(text, add_special_tokens=False)
    assert ours == pieces.encode(text), "the tokenizer was converted wrongly"


def write_rows(folder: Path, *, train: int, validation: int) -> None:
    """Rows whose lengths are spread as the winner's mix: most are NI samples of 192 tokens in the mean, some longer."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    lengths = []
    for name, num in (("train", train), ("validation", validation)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(num):
                wanted = rng.gauss(780, 150) if rng.random() < 0.12 else rng.lognormvariate(5.1, 0.6)
                words = [rng.choice(WORDS) for _ in range(max(16, min(1_300, int(wanted))))]
                cut = len(words) * 4 // 5
                row = {
                    "id": f"{name}-{number}", "source": "made", "task": "made", "licence": "CC0",
                    "instruction": "Answer.", "input": " ".join(words[:cut]), "output": " ".join(words[cut:]),
                }  # fmt: skip
                file.write(json.dumps(row) + "\n")
                lengths.append(len(words) + 24)
    read_mix(folder / "train.jsonl")
    (folder / "lengths.json").write_text(json.dumps(lengths))


def oneday(*command: str, log: Path) -> dict[str, Any]:
    """Runs `oneday … --json`; returns its last line.

    Raises:
        SystemExit: it failed; its own words say why.
    """
    with log.open("a", encoding="utf-8") as words:
        done = subprocess.run(
            [sys.executable, "-m", "oneday.cli", *command, "--json"], stdout=subprocess.PIPE, stderr=words, text=True
        )
    if done.returncode != 0:
        raise SystemExit(f"oneday {command[0]} ended with {done.returncode}: {log.read_text().splitlines()[-1]}")
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def _torch() -> dict[str, str]:
    import torch

    return {"cuda": torch.version.cuda or "none"}
