"""What HELM runs: the entries of run_specs.conf, and data placed where HELM looks before it downloads.

    suite = read_suite("open", at_most=20)
    place_gsm8k(Path("gsm8k"), Path("runs/helm/benchmark_output/scenarios"))

Where it sits: run_specs.conf, data -> **suite** -> run.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from core.files import make_folder, write_text
from submission.errors import HelmError

RUN_SPECS = Path(__file__).parent / "run_specs.conf"
SUITES = ("simple", "open", "hidden", "all")

HELD_OUT = 0.1
"""The share of GSM8K's training rows, taken from the end, that replaces a missing test file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Entries for helm-run."""

    name: str
    conf: str
    """HOCON with `entries`."""
    entries: tuple[str, ...] = ()
    """Further entries, such as `gsm`."""


def read_suite(name: str, *, at_most: int | None = None) -> Suite:
    """One of `SUITES`, or a file of entries.

    Args:
        at_most: Lowers `max_eval_instances` of entries that name more.
    Raises:
        HelmError: neither a suite nor a file.
    """
    if name in SUITES:
        conf, label = f"{RUN_SPECS.read_text(encoding='utf-8')}\nentries: ${{{name}}}\n", name
    else:
        path = Path(name)
        try:
            conf, label = path.read_text(encoding="utf-8"), re.sub(r"\W+", "-", path.stem).strip("-") or "file"
        except (OSError, ValueError) as e:
            raise HelmError(
                f"`suite={name[:200]}`: not {', '.join(SUITES)}, and no readable file. Use one of these, or a file of "
                "entries like submission/run_specs.conf."
            ) from e
        if not conf.strip():
            raise HelmError(f"`suite={name[:200]}`: nothing in it. Write `entries` as in submission/run_specs.conf.")
        label = f"{label}-file" if label in SUITES else label
    if at_most is not None:
        conf = re.sub(
            r"(?<=max_eval_instances=)\d+", lambda found: str(min(int(found[0]), at_most)), conf
        )  # fmt: skip
    return Suite(name=label, conf=conf)


def place_gsm8k(folder: Path, scenarios: Path) -> str:
    """Places GSM8K where HELM looks for it. Without a test file, the last training rows are held out instead.

    Returns:
        A line that says what is evaluated.
    Raises:
        HelmError: no train.jsonl with questions and answers.
    """
    train = _gsm8k_rows(folder / "train.jsonl")
    if (folder / "test.jsonl").is_file():
        test, note = _gsm8k_rows(folder / "test.jsonl"), "its test rows"
    else:
        held_out = max(1, round(len(train) * HELD_OUT))
        train, test = train[:-held_out], train[-held_out:]
        note = f"the last {held_out} training rows, held out: not GSM8K's test set"
    target = scenarios / "gsm"
    make_folder(target)
    for split, rows in (("train", train), ("test", test)):
        write_text(target / f"gsm_data_{split}", "".join(rows))
    return f"gsm: evaluated on {note}"


def _gsm8k_rows(path: Path) -> list[str]:
    """The checked lines of a file, each with its newline."""
    try:
        lines = [line + "\n" for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        good = all({"question", "answer"} <= json.loads(line).keys() for line in lines)
    except OSError as e:
        raise HelmError(f"`gsm8k=`: {path}: {e.strerror}. Pass the folder that holds GSM8K's train.jsonl.") from e
    except (ValueError, AttributeError):
        good = False
    if not good or len(lines) < 2:
        raise HelmError(f"`gsm8k=`: {path}: not lines of JSON with question and answer. Take GSM8K's train.jsonl.")
    return lines


def check_data(gsm8k: Path | None, scenarios: Path | None) -> None:
    """Checks the data before HELM is installed.

    Raises:
        HelmError: a file or folder is missing or not in the expected form.
    """
    if gsm8k is not None:
        _gsm8k_rows(gsm8k / "train.jsonl")
    if scenarios is not None and not scenarios.is_dir():
        raise HelmError(
            f"`scenarios={scenarios}`: no such folder. It holds one folder per scenario, such as mmlu/data."
        )


def place_scenarios(folder: Path, scenarios: Path) -> None:
    """Links the files of `folder` into HELM's scenario folder; existing files stay.

    Raises:
        HelmError: no such folder.
    """
    check_data(None, folder)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        target = scenarios / path.relative_to(folder)
        make_folder(target.parent)
        if not os.path.lexists(target):
            target.symlink_to(path.resolve())
