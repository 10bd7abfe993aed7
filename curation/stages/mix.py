"""05_mix: all rows, split, as JSON lines and Parquet; with the manifest of how they came to be and the report."""

import importlib.metadata
from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from core.files import file_sha256, read_json, write_json
from core.run_folder import CURATION, MIX
from core.score import Rouge
from core.stage import Stage, Summary, Tally
from curation.mix import TRAIN, VALIDATION, split, write_parts
from curation.report import write_report
from curation.stages.context import Curation
from curation.stages.samples import ROWS

PACKAGES = ("orjson", "pyarrow", "regex", "rensa", "rouge-score-rs", "numpy", "py3langid")
"""Whose version may change a mix."""

OUTPUTS = ("train.jsonl", "validation.jsonl", "train.parquet", "validation.parquet")


def mix_stage(curation: Curation, sampled: Stage) -> Stage:
    """Raises `MixError` if there are fewer than two rows."""
    parameters = curation.parameters
    print_of = parameters.fingerprint()
    inputs = {"samples": sampled.output_digest(), "split": print_of["split"], "scale": parameters.scale}
    stage = curation.stage(MIX, inputs)
    if stage.is_done:
        return stage
    counts, labels, offsets = _Counts(), [], []
    with sampled.path(ROWS).open("rb") as rows:
        offset = 0
        for line in rows:
            row = orjson.loads(line)
            labels.append(f"{row['source']}/{row['task']}")
            offsets.append(offset)
            offset += len(line)
            counts.add(row)
    parts = split(labels, parameters.split, scale=parameters.scale)
    write_parts(sampled.path(ROWS), offsets, parts, stage.directory)
    drawn = sampled.summary().details
    details = {
        "train_rows": len(parts[TRAIN]),
        "validation_rows": len(parts[VALIDATION]),
        **counts.details(),
        "shortfalls": drawn["shortfalls"],
        "own_share": drawn["own_share"],
        "fit": drawn["fit"],
    }
    write_json(stage.path("manifest.json"), _manifest(stage, curation, details))
    kept = len(parts[TRAIN]) + len(parts[VALIDATION])
    summary = Summary(tallies={"row": Tally(read=len(labels), kept=kept)}, details=details)
    write_report(curation.run, stage.path("report.html"), summary)
    stage.finish(summary)
    return stage


class _Counts:
    """What the manifest and the report say of the rows."""

    def __init__(self) -> None:
        self.by: dict[str, Counter[str]] = {name: Counter() for name in ("source", "task", "bucket", "spdx")}
        self.lengths: Counter[int] = Counter()
        self.num_tokens = 0

    def add(self, row: Mapping[str, Any]) -> None:
        self.by["source"][row["source"]] += 1
        self.by["task"][f"{row['source']}/{row['task']}"] += 1
        self.by["spdx"][row["spdx"]] += 1
        if row["bucket"] is not None:
            self.by["bucket"][f"{row['kind']}/{row['bucket']}"] += 1
        self.num_tokens += row["num_tokens"]
        if row["num_tokens"]:
            self.lengths[row["num_tokens"] // LENGTH_STEP * LENGTH_STEP] += 1

    def details(self) -> dict[str, Any]:
        return {
            **{f"rows_by_{name}": dict(sorted(counter.items())) for name, counter in self.by.items()},
            "tokens": self.num_tokens,
            "rows_by_tokens": {str(n): self.lengths[n] for n in sorted(self.lengths)},
        }


LENGTH_STEP = 64
"""Width of a bar of the histogram of row lengths, in tokens."""


def _manifest(stage: Stage, curation: Curation, details: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs to make the same mix again, and to check that nothing was changed since."""
    packages = [*PACKAGES, *(["rouge"] if curation.parameters.scores.rouge is Rouge.ROUGE else [])]
    packages += [] if all(located.paths for located in curation.sources.values()) else ["datasets"]
    return {
        "oneday": importlib.metadata.version("oneday-llm"),
        "parameters": curation.parameters.fingerprint(),
        "model": curation.predictor.revision,
        "inputs": {name: read_json(curation.run / name / "inputs.json") for name in CURATION},
        "outputs": {name: file_sha256(stage.path(name)) for name in OUTPUTS},
        "counts": dict(details),
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }
