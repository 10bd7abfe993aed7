"""05_mix: all rows, split, as JSON lines and Parquet; with the manifest of how they came to be and the report."""

import importlib.metadata

from core.files import file_sha256, read_json, write_json
from core.run_folder import CURATION, MIX
from core.score import Rouge
from core.stage import Stage, Summary, Tally
from curation.counts import MixDetails, RowCounts
from curation.mix import TRAIN, VALIDATION, split, write_parts
from curation.report.page import Made, write_report
from curation.sources.source import read_row
from curation.stages.context import Curation
from curation.stages.samples import ROWS, SamplesDetails

PACKAGES = ("orjson", "pyarrow", "regex", "rensa", "rouge-score-rs", "numpy", "py3langid")
"""Whose version may change a mix."""

OUTPUTS = ("train.jsonl", "validation.jsonl", "train.parquet", "validation.parquet")


def mix_stage(curation: Curation, sampled: Stage) -> Stage:
    """Raises `MixError` if there are fewer than two rows."""
    parameters = curation.parameters
    inputs = {
        "samples": sampled.output_digest(),
        "split": parameters.fingerprint()["split"],
        "scale": parameters.scale,
    }
    stage = curation.stage(MIX, inputs)
    if stage.is_done:
        return stage
    counts, labels, offsets = RowCounts(), list[str](), list[int]()
    with sampled.path(ROWS).open("rb") as rows:
        offset = 0
        for line in rows:
            row = read_row(line)
            labels.append(f"{row.source}/{row.task}")
            offsets.append(offset)
            offset += len(line)
            counts.add(row)
    parts = split(labels, parameters.split, scale=parameters.scale)
    write_parts(sampled.path(ROWS), offsets, parts, stage.directory)
    drawn = sampled.details(SamplesDetails)
    details = counts.details(
        train_rows=len(parts[TRAIN]),
        validation_rows=len(parts[VALIDATION]),
        shortfalls=drawn.shortfalls,
        own_share=drawn.own_share,
        fit=drawn.fit,
    )
    write_json(stage.path("manifest.json"), _manifest(stage, curation, details))
    tally = Tally(read=len(labels), kept=len(parts[TRAIN]) + len(parts[VALIDATION]))
    made = Made(parameters=parameters, model=curation.predictor.revision)
    write_report(curation.run, stage.path("report.html"), tally, details, made)
    stage.finish(Summary(tallies={"row": tally}, details=details))
    return stage


def _manifest(stage: Stage, curation: Curation, details: MixDetails) -> dict[str, object]:
    """What a reader needs to make the same mix again, and to check that nothing was changed since."""
    packages = [*PACKAGES, *(["rouge"] if curation.parameters.scores.rouge is Rouge.ROUGE else [])]
    packages += [] if all(located.paths for located in curation.sources.values()) else ["datasets"]
    return {
        "oneday": importlib.metadata.version("oneday-llm"),
        "parameters": curation.parameters.fingerprint(),
        "model": curation.predictor.revision,
        "inputs": {name: read_json(curation.run / name / "inputs.json") for name in CURATION},
        "outputs": {name: file_sha256(stage.path(name)) for name in OUTPUTS},
        "counts": details,
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }
