"""Trains the demo's base model: a tiny Mistral that knows some of the demo's tasks, and some only half.

    python -m oneday.demo.train_base --out oneday/demo/demo_base

The result is shipped as package data (safetensors, under 2 MB, with the log of the run that made it), so that nobody
has to train it. The architecture and the kind of tokenizer are Mistral-7B-v0.1's: grouped-query attention, RMSNorm,
SwiGLU, a BPE with byte fallback and the `▁` word mark, so that it shows the same difficulties as the real model.

The training text is few-shot documents over the demo tasks in the layout of `core.example.prompt`, weighted by
`DemoTask.base_weight`. It says nothing about real language: on real tasks the model shows mechanics only.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast, get_cosine_schedule_with_warmup

from core.example.prompt import training_prompt
from curation.ni.few_shot import few_shot_prompt
from curation.ni.task import Example
from oneday.demo.tasks import DEMO_TASKS, DemoTask, positive_examples

VOCAB_SIZE = 768
IGNORED = -100


def train_tokenizer(rng: random.Random) -> PreTrainedTokenizerFast:
    """A Llama-style BPE (byte fallback, prepended word mark) learnt from demo text."""
    texts = [document(rng, task, max_shots=2)[0] for task in DEMO_TASKS for _ in range(60)]
    bytes_first = [f"<0x{b:02X}>" for b in range(256)]
    # Merges are learnt inside words and lines only; then the same vocabulary serves without a pre-tokenizer, as
    # Llama's does, and a line break is the byte <0x0A>.
    learner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    learner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Split("\n", "removed")]
    )
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(  # type: ignore[no-untyped-call,unused-ignore]
            vocab_size=VOCAB_SIZE, special_tokens=["<unk>", "<s>", "</s>", *bytes_first], show_progress=False
        ),
    )
    learnt = json.loads(learner.to_str())["model"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=learnt["vocab"],
            merges=[tuple(pair) for pair in learnt["merges"]],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def document(rng: random.Random, task: DemoTask, *, max_shots: int = 4) -> tuple[str, list[tuple[int, int]]]:
    """One training text and the character spans of its answers.

    A quarter of the documents have the layout of a training row (no preamble, no shots); the rest are few-shot
    prompts, half of those with the task's own positive examples as shots.
    """
    query, answer = task.draw(rng)
    if rng.random() < 0.25:
        text = training_prompt(task.definition, query)
        return text + answer, [(len(text), len(text) + len(answer))]
    num_shots = rng.randint(0, max_shots)
    pairs = [task.draw(rng) for _ in range(num_shots)]
    if rng.random() < 0.5:
        pairs = positive_examples(task)
        rng.shuffle(pairs)
    shots = [Example(input=i, output=o) for i, o in pairs]
    text = few_shot_prompt(task.definition, shots, query)
    spans, cursor = [], 0
    for shot in [*shots, Example(input=query, output=answer)]:
        cursor = text.index("### Response:\n", cursor) + len("### Response:\n")
        spans.append((cursor, cursor + len(shot.output)))
    return text + answer, spans


def packed_batch(
    rng: random.Random, tokenizer: PreTrainedTokenizerFast, *, rows: int, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, both [rows, length]; loss falls on answers and the end token alone."""
    seen = [task for task in DEMO_TASKS if task.base_weight > 0]
    weights = [task.base_weight for task in seen]
    ids: list[int] = []
    labels: list[int] = []
    while len(ids) < rows * length:
        text, spans = document(rng, rng.choices(seen, weights)[0])
        encoded = tokenizer(text, return_offsets_mapping=True)
        for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            inside = any(start < span_end and end > span_start for span_start, span_end in spans)
            ids.append(token)
            labels.append(token if inside else IGNORED)
        ids.append(tokenizer.eos_token_id)
        labels.append(tokenizer.eos_token_id)
    size = rows * length
    return torch.tensor(ids[:size]).view(rows, length), torch.tensor(labels[:size]).view(rows, length)


def train(out: Path, *, steps: int, seed: int, learning_rate: float) -> None:
    """Trains for `steps` steps and writes model, tokenizer and `training_log.jsonl` to `out`."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = train_tokenizer(rng)
    model = MistralForCausalLM(_architecture(tokenizer))
    num_parameters = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, 30, steps)
    start, tokens = time.monotonic(), 0
    out.mkdir(parents=True, exist_ok=True)
    with (out / "training_log.jsonl").open("w", encoding="utf-8") as log:
        for step in range(1, steps + 1):
            ids, labels = packed_batch(rng, tokenizer, rows=16, length=320)
            loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            tokens += ids.numel()
            if step % 100 == 0:
                record = {
                    "step": step,
                    "of": steps,
                    "loss": round(loss.item(), 4),
                    "tokens": tokens,
                    "tokens_per_s": round(tokens / (time.monotonic() - start)),
                    "parameters": num_parameters,
                    "seed": seed,
                }
                print(json.dumps(record), flush=True)
                log.write(json.dumps(record) + "\n")
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def _architecture(tokenizer: PreTrainedTokenizerFast) -> MistralConfig:
    """Mistral-7B-v0.1's architecture in miniature: 0.6 M parameters."""
    return MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        sliding_window=None,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000, help="1000 steps take 3 minutes on two cores")
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    args = parser.parse_args()
    train(args.out, steps=args.steps, seed=args.seed, learning_rate=args.learning_rate)


if __name__ == "__main__":
    main()
