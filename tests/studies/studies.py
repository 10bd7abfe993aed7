"""Small studies, as text, for the tests."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.study import Study, read_study

HEAD = """
study: small
about: a small study for the tests
base: models/base
models: {models/base: {parameters: 1.0e8}, models/other: {parameters: 2.0e8}}
card: rtx4090
budget: 10h
sources:
  en: {path: en.jsonl, rows: 1000, tokens: 500}
  fi: {path: fi.jsonl, rows: 1000, tokens: 500}
  pairs-en: {path: pairs_en.jsonl, rows: 500, tokens: 800}
  pairs-fi: {path: pairs_fi.jsonl, rows: 500, tokens: 800}
"""

STAGES = """
stages:
  - {name: sft, kind: sft, data: {build: nested-mix, whole: en, nested: fi, percent: 100}, weights: lora,
     loss: all, learning_rate: 2.0e-5, num_epochs: 3, micro_batch_size: 8}
  - {name: dpo, kind: dpo, data: {build: preferences, sources: [pairs-en, pairs-fi]}, weights: lora,
     learning_rate: 5.0e-7, num_epochs: 2, micro_batch_size: 8, beta: 0.05}
"""

ARMS = """
anchor: whole
arms:
  whole: {skip: [dpo], priority: 100}
  tenth: {skip: [dpo], priority: 90, changes: {sft.data.percent: 10}}
  masked: {skip: [dpo], priority: 40, changes: {sft.loss: responses}}
  dpo-both: {priority: 80}
  dpo-en: {priority: 60, changes: {dpo.data.sources: [pairs-en]}}
"""

SUITES = """
suites:
  crosslingual: {items: crosslingual, scores: [language], languages: [en, fi], num_items: 100,
                 generation: {max_new_tokens: 64}, use: [select, report]}
"""

SWEEP = """
sweep: {stage: dpo, key: beta, values: [0.01, 0.05, 0.1], arm: dpo-both}
selection: {metrics: [language.accuracy]}
"""

EACH = """
stages:
  - {name: sft, kind: sft, data: {build: rows, source: en}, weights: lora, learning_rate: 1.0e-5, max_steps: 100,
     micro_batch_size: 8}
anchor: whole
arms:
  whole: {priority: 100}
  other: {priority: 50, changes: {base: models/other}}
sweep: {stage: sft, key: learning_rate, values: [1.0e-6, 1.0e-5, 1.0e-4], arm: each}
selection: {metrics: [language.accuracy]}
"""

SMALL = HEAD + STAGES + ARMS + SUITES + SWEEP
SWEPT = HEAD + EACH + SUITES


def study_of(text: str, tmp_path: Path, changes: Mapping[str, Any] | None = None, preset: str | None = None) -> Study:
    """The study of a text."""
    path = tmp_path / "small.yml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return read_study(path, changes=changes, preset=preset)
