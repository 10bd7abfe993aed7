"""Trains a LoRA by TRL's SFTTrainer on batches that are packed already: the peer of training.py, in its own process.

    PLAIN_LOG=log.json python -m benchmarks.real.training_trl settings.json

The rows have the form that TRL's own packing gives them (`seq_lengths` beside the ids), so its collator and its loss
run as always.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harness.data.pack import PackPlan


def rows(settings: dict[str, Any]) -> list[dict[str, list[int]]]:
    """One row for each step."""
    table = pq.read_table(settings["table"], columns=["input_ids", "labels"]).to_pylist()
    batches = PackPlan.read(Path(settings["packs"])).micro_batches[: settings["steps"]]
    found = []
    for batch in batches:
        samples = [table[row] for rows_of_bin in batch for row in rows_of_bin]
        joined = {key: [i for sample in samples for i in sample[key]] for key in ("input_ids", "labels")}
        found.append({**joined, "seq_lengths": [len(sample["input_ids"]) for sample in samples]})
    return found


def main(settings: dict[str, Any]) -> None:
    """Trains."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    from benchmarks.plain_axolotl import StepRecorder

    class InOrder(SFTTrainer):  # type: ignore[misc,unused-ignore]
        """Takes the rows in their order."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return SequentialSampler(train_dataset or self.train_dataset)

    base = settings["base_model"]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa")
    set_seed(settings["seed"])  # LoRA's initial weights, as the others have them
    lora = LoraConfig(
        r=settings["lora_r"], lora_alpha=settings["lora_alpha"], lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    arguments = SFTConfig(
        output_dir=settings["out"], max_steps=settings["steps"], per_device_train_batch_size=1, seed=settings["seed"],
        learning_rate=settings["learning_rate"], lr_scheduler_type="constant", weight_decay=0.0, optim="adamw_torch",
        packing=True, max_length=settings["sequence_len"], shuffle_dataset=False, bf16=False, use_cpu=True,
        gradient_checkpointing=settings["checkpointing"], dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1, save_strategy="no", report_to="none",
    )  # fmt: skip
    trainer = InOrder(
        model=get_peft_model(model, lora),
        args=arguments,
        train_dataset=Dataset.from_list(rows(settings)),
        processing_class=AutoTokenizer.from_pretrained(base),
        callbacks=[StepRecorder()],
    )
    trainer.train()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
