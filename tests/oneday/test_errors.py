"""Wrong input to every command ends in one line and exit code 2, and the fix that the line names works.

Each case runs twice: with the wrong input, and after its message was followed. Then the command succeeds, or, if that
would train or serve for minutes, fails with the later error that the case names.

Each message has one case. The messages of a function about wrong content are tested beside that function: tasks in
tests/curation/ni/test_task.py, recipes in tests/harness/test_recipe.py, tables in tests/submission/score/test_score.py.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from oneday.cli import main
from oneday.cli.app import COMMANDS
from oneday.demo.demo import DEMO_BASE, RECIPE
from tests.oneday.place import (
    HUGE,
    LONG,
    OBJECTS,
    OTHERS,
    PREDICTION,
    ROW,
    TASKS,
    WITHOUT,
    Place,
)

Command = Callable[[Place], Sequence[object]]

CHECKPOINTS, OTHER = "07_train/output/checkpoint", "others/checkpoint-1"
PLAN = '{"step": 0, "progress": 0.0, "horizon": 20, "reason": "rehearsal"}\n'
PICKED, WEIGHTS = "08_pick/picked.json", "08_pick/adapter-20/adapter_model.safetensors"
LORA = "08_pick/adapter-20/adapter_config.json"

TOO_SHORT = r"shorter than the measured minimum of \d+"
"""Later error of a run that would train for minutes; all of its input has been checked before."""
NO_MIX = r"gone/train\.jsonl: no such file"
"""Later error of a reproduction; manifest, plan, card and base have been checked before."""
A_FILE = r"a file is in the place of this folder\. Give another --run"
"""Later error of a reproduction with the right rows."""


@dataclass(frozen=True)
class Case:
    """A command with wrong input, its message, and the fixed command."""

    name: str
    """`command: what is wrong`."""
    wrong: Command
    message: str
    """Pattern of the line: what is wrong, where, and how to fix it."""
    mended: Command
    later: str = ""
    """An error that the mended command may end in, because finishing would cost minutes."""


def curate(*more: object, tasks: object = TASKS, base: object = DEMO_BASE) -> list[object]:
    return ["curate", "--tasks", tasks, "--base", base, "--scale", "0.001", WITHOUT, *more]


def mixed(p: Place, *more: object, added: object = None) -> list[object]:
    added = p.lines("fi.jsonl", ROW) if added is None else added
    return ["build", "mix", "--base", p.lines("en.jsonl", ROW), "--added", added, "--run", p.path / "new", *more]


def translated(p: Place) -> list[object]:
    shots = p.lines("shots.jsonl", *[{"source": "One.", "target": "Yksi."}] * 5)
    data = ["--data", p.lines("mine.jsonl", ROW), "--to", "fi", "--shots-from", shots, "--run", p.path / "new"]
    return ["build", "translate", *data, "--base", DEMO_BASE]


def of_curate(*question: object) -> list[object]:
    """Returns a subcommand of `curate`, such as `diff`, with the arguments of a curation."""
    return ["curate", *question, *curate()[1:]]


def dry(*more: object, tasks: object = TASKS, base: object = DEMO_BASE) -> list[object]:
    return curate("--dry-run", "--prompts-per-s", "1", *more, tasks=tasks, base=base)


def replay(p: Place, *more: object, tasks: object = TASKS) -> list[object]:
    return curate(
        "--predictor", "replay", "--predictions", p.predictions(), "--run", p.path / "new", *more, tasks=tasks
    )


def score(path: object, *more: object) -> list[object]:
    return ["curate", "score", "--predictions", path, *more]


def dry_train(*more: object) -> list[object]:
    return ["train", "--dry-run", *more]


def train(mix: object, *more: object) -> list[object]:
    few = ["--config", RECIPE, "--base", DEMO_BASE, "--budget", "1s", "--no-rehearsal"]
    return ["train", "--mix", mix, *few, *more]


def plan(p: Place, *more: object) -> list[object]:
    """Plans the mix of a run with a finished rehearsal."""
    return ["plan", "--mix", p.run() / "05_mix", "--config", RECIPE, "--base", DEMO_BASE, *more]


def try_(*more: object) -> list[object]:
    return ["try", "Write the first word.", "--max-new-tokens", "2", *more]


def compare(run: object, *more: object) -> list[object]:
    return ["compare", run, "--questions", "2", "--max-new-tokens", "2", *more]


def reproduce(p: Place, *more: object) -> list[object]:
    """Reproduces a run, up to the error about a mix that does not exist."""
    p.run()
    return ["reproduce", p.path / "run/manifest.json", "--run", p.path / "again", "--mix", p.path / "gone", *more]


def serve(p: Place, *more: object) -> list[object]:
    """Serves a model whose weights cannot be loaded, because a working server would never end."""
    broken = p.base(model_safetensors="garbage" * 100)
    return ["serve", "--checkpoint", broken, "--port", "0", *more]


def pick(p: Place, rows: Path, folder: Path | None = None) -> list[object]:
    """Picks from checkpoints of another trainer by their loss on rows."""
    return ["pick", folder or p.run() / "07_train/output", "--validation", rows, "--base", DEMO_BASE]


def ledger(p: Place) -> str:
    return (p.run("other") / "ledger.jsonl").read_text()


def main_ok(command: Sequence[object]) -> None:
    assert exit_code_of(command) == 0, command


def exit_code_of(command: Sequence[object]) -> int:
    """The exit code, in this process."""
    with pytest.raises(SystemExit) as e:
        main([str(argument) for argument in command])
    assert isinstance(e.value.code, int)
    return e.value.code


def of_base(name: str) -> bytes:
    return (DEMO_BASE / name).read_bytes()


NOT_SERVED = r"base: cannot be loaded"

CURATE = [
    Case(
        "curate: no tasks", lambda p: ["curate", "--base", DEMO_BASE],
        r"--tasks is missing\. Give a folder of NI task files", lambda p: dry(),
    ),
    Case(
        "curate: a task folder that is not there", lambda p: dry(tasks=p.path / "gone"),
        r"gone: no such folder\. --tasks takes a folder", lambda p: dry(tasks=p.tasks()),
    ),
    Case(
        "curate: a path of 5,000 characters", lambda p: dry(tasks=LONG),
        r"^error: x{150}…x{99}: File name too long\. Check path", lambda p: dry(tasks=p.tasks()),
    ),
    Case(
        "curate: a name that is not UTF-8", lambda p: dry(tasks="tasks\udcff"),
        r"argument 'tasks\\udcff': not valid Unicode\. Rename", lambda p: dry(tasks=p.tasks()),
    ),
    Case(
        "curate: an escape sequence in an argument", lambda p: dry("--preset", "\x1b[31mred\nhot"),
        r"preset \\x1b\[31mred hot: unknown\. Use recommended", lambda p: dry("--preset", "recommended"),
    ),
    Case(
        "curate: no base", lambda p: ["curate", "--tasks", TASKS, WITHOUT],
        r"--base is missing\. Give the folder of the base model", lambda p: dry(),
    ),
    Case(
        "curate: a base without tokenizer", lambda p: dry(base=p.base(tokenizer_json=None)),
        r"base: a model without tokenizer\. Put tokenizer\.json",
        lambda p: dry(base=p.base(tokenizer_json=of_base("tokenizer.json"))),
    ),
    Case(
        "curate: a base whose config is a list", lambda p: dry(base=p.base(config_json="[]")),
        r"config\.json: damaged: .*valid dictionary\. Fetch the model again",
        lambda p: dry(base=p.base(config_json=of_base("config.json"))),
    ),
    Case(
        "curate: a base with garbage for weights",
        lambda p: curate("--run", p.path / "new", base=p.base(model_safetensors="garbage" * 100)),
        r"base: cannot be loaded \(.*header.*\)\. Fetch the model again, or give another",
        lambda p: curate("--run", p.path / "new"),
    ),
    Case(
        "curate: an unknown mix", lambda p: dry("--mix", "1m"),
        r"--mix 1m: unknown mix\. Use 200k, 400k, 700k", lambda p: dry("--mix", "700k"),
    ),
    Case(
        "curate: a scale above 1", lambda p: dry("--scale", "7"),
        r"--scale 7\.0: not in \(0, 1\]\. --scale 0\.01", lambda p: dry("--scale", "0.01"),
    ),
    Case(
        "curate: a scale that is text", lambda p: dry("--scale", "much"),
        r"'much' is not a valid float.*See oneday curate --help", lambda p: dry("--scale", "1.0"),
    ),
    Case(
        "curate: a source unheard of", lambda p: ["curate", "--tasks", TASKS, "--without", "alpaca"],
        r"--without alpaca: unknown source\. Use lima", lambda p: dry("--without", f"lima,{OTHERS}"),
    ),
    Case(
        "curate: a source without a file", lambda p: dry("--without", OTHERS, "--source", "lima"),
        r"--source lima: not NAME=VALUE\. For example --source lima=lima/train\.jsonl",
        lambda p: dry("--without", OTHERS, "--source", f"lima={p.lines('lima.jsonl', ROW)}"),
    ),
    Case(
        "curate: the hub without a network", lambda p: dry("--without", OTHERS, "--source", "lima=hub:127.0.0.1/none"),
        r"cannot be had from the datasets hub .*or fetch a file and pass --source NAME=FILE",
        lambda p: dry("--without", OTHERS, "--source", f"lima={p.lines('lima.jsonl', ROW)}"),
    ),
    Case(
        "curate: replay without a file", lambda p: dry("--predictor", "replay"),
        r"--predictor replay needs --predictions FILE", lambda p: replay(p),
    ),
    Case(
        "curate: openai without an address", lambda p: dry("--predictor", "openai"),
        r"--predictor openai needs --url, for example --url http",
        lambda p: dry("--predictor", "openai", "--url", "http://127.0.0.1:8000/v1"),
    ),
    Case(
        "curate: a retained share above 1", lambda p: dry("--retain", "2"),
        r"--retain 2\.0: not in \[0, 1\)\. 0\.25 keeps", lambda p: dry("--retain", "0.25"),
    ),
    Case(
        "curate: a run that is a file", lambda p: replay(p, "--run", p.file("file")),
        r"file: a file is in the place of this folder\. Give another --run", lambda p: replay(p),
    ),
    Case(
        "curate: an unknown setting", lambda p: dry("--set", "max_tokens=5"),
        r"--set max_tokens: no such choice\. Use one of .*policies\.max_tokens",
        lambda p: dry("--set", "policies.max_tokens=5"),
    ),
    Case(
        "curate: a setting of another type", lambda p: dry("--set", "split.seed=x"),
        r"--set split\.seed=x: Input should be a valid integer", lambda p: dry("--set", "split.seed=5"),
    ),
    Case(
        "curate: a setting of 30 digits", lambda p: dry("--set", f"split.seed={HUGE}"),
        rf"--set split\.seed={HUGE}: Integer exceeds 64-bit range\. Give a value",
        lambda p: dry("--set", "split.seed=5"),
    ),
    Case(
        "curate: a setting of asking less, without asking less", lambda p: dry("--set", "adaptive.error=0.01"),
        r"--set adaptive\.error: no such choice\. Say --adaptive or --within too",
        lambda p: dry("--adaptive", "--set", "adaptive.error=0.01"),
    ),
    Case(
        "curate: a time that is more than the budget", lambda p: dry("--within", "150%"),
        r"--within 150%: not a share of the budget\. Give one, for example 15%, or a time such as 3h",
        lambda p: dry("--within", "15%"),
    ),
    Case(
        "curate: a time, with quotas that need all answers",
        lambda p: dry("--within", "3h", "--set", "samples.quota=per_bucket"),
        r"--within 3h: samples\.quota=per_bucket takes a share of each task's answers, so all must be asked",
        lambda p: dry("--within", "3h"),
    ),
    Case(
        "curate: a language that is none", lambda p: dry("--language", "Klingonese"),
        r"--language Klingonese: not a language\. Give a code or an English name, for example --language fi",
        lambda p: dry("--language", "en"),
    ),
    Case(
        "curate: losses of a probe without one of them",
        lambda p: dry("--probe-losses", p.lines("x", {"task": "a", "id": "b", "before": 1.0})),
        r"x: record 1 lacks `task` and `id` as text, or `before` and `after` as numbers",
        lambda p: dry("--probe-losses", p.lines("x", {"task": "a", "id": "b", "before": 1.0, "after": 2})),
    ),
    Case(
        "curate: a share that is none", lambda p: dry("--set", "records.lower_case_math=5"),
        r"records\.lower_case_math: 5\.0 is not in \[0, 1\]\. The winner took 0\.3",
        lambda p: dry("--set", "records.lower_case_math=0.3"),
    ),
    Case(
        "curate: a suite that is not there", lambda p: dry("--against", f"gsm8k={p.path / 'x'}"),
        r"--against gsm8k=.*: no such file\. Give JSON lines",
        lambda p: dry("--against", f"gsm8k={p.lines('x', {'question': 'Why?'})}"),
    ),
    Case(
        "curate: a fit without speed", lambda p: dry("--fit", "24h"),
        r"--fit needs --tokens-per-s: the training speed", lambda p: dry("--fit", "24h", "--tokens-per-s", "5"),
    ),
    Case(
        "curate: a speed without fit", lambda p: dry("--tokens-per-s", "5"),
        r"--tokens-per-s without --fit\. Give the budget to fill: --fit 24h",
        lambda p: dry("--tokens-per-s", "5", "--fit", "24h"),
    ),
    Case(
        "curate: a share of the budget above 1",
        lambda p: dry("--fit", "24h", "--tokens-per-s", "5", "--train-share", "2"),
        r"--train-share 2\.0: not in \(0, 1\]\. 0\.92 is usual",
        lambda p: dry("--fit", "24h", "--tokens-per-s", "5", "--train-share", "0.92"),
    ),
    Case(
        "curate: a tokenizer that is not there", lambda p: dry("--tokenizer", p.path / "x"),
        r"--tokenizer takes a model folder or a tokenizer file", lambda p: dry("--tokenizer", DEMO_BASE),
    ),
    Case(
        "curate: a tokenizer that is empty", lambda p: dry("--tokenizer", p.file("tokenizer.json", "{}")),
        r"tokenizer\.json: no tokenizer .*Pass --tokenizer with", lambda p: dry("--tokenizer", DEMO_BASE),
    ),
    Case(
        "curate: no tokenizer, yet a bound in tokens", lambda p: dry("--tokenizer", "none"),
        r"Add --set policies\.max_tokens=none",
        lambda p: dry("--tokenizer", "none", "--set", "policies.max_tokens=none"),
    ),
    Case(
        "curate: own data that is not there", lambda p: dry(tasks=p.path / "mine.jsonl"),
        r"mine\.jsonl: cannot be read .*Check the path", lambda p: dry(tasks=p.lines("mine.jsonl", ROW)),
    ),
    Case(
        "curate: own data without a usable row", lambda p: dry(tasks=p.lines("mine.jsonl", {})),
        r"mine\.jsonl: no usable row \(1 malformed: lacks `instruction` .*`oneday check .*mine\.jsonl` lists",
        lambda p: dry(tasks=p.lines("mine.jsonl", ROW)),
    ),
    Case(
        "check: own data with problems",
        lambda p: ["check", p.lines("mine.jsonl", ROW, ROW | {"input": "c"}, {"instruction": "x"})],
        r"mine\.jsonl: 1 problems, listed above\. Mend them",
        lambda p: ["check", p.lines("mine.jsonl", ROW, ROW | {"input": "c"})],
    ),
    Case(
        "check: nothing to check", lambda p: ["check", p.path / "gone"],
        r"gone: no such folder",
        lambda p: ["check", p.lines("mine.jsonl", ROW, ROW | {"input": "c"})],
    ),
    Case(
        "check: a layout that is unknown", lambda p: ["check", p.lines("mine.jsonl", ROW), "--layout", "chatml"],
        r"chatml.*alpaca, dolly",
        lambda p: ["check", p.lines("mine.jsonl", ROW, ROW | {"input": "c"})],
    ),
    Case(
        "check: one row alone", lambda p: ["check", p.lines("mine.jsonl", ROW)],
        r"mine\.jsonl: 1 problems, listed above",
        lambda p: ["check", p.lines("mine.jsonl", ROW, ROW | {"input": "c"})],
    ),
    Case(
        "build: a share that is none", lambda p: mixed(p, "--percent", "110"),
        r"--percent 110: not a share\. Give 0 to 100", lambda p: mixed(p, "--percent", "10"),
    ),
    Case(
        "build: other inputs in the folder", lambda p: (main_ok(mixed(p)), mixed(p, "--seed", "7"))[1],
        r"made with other inputs \(options\.seed: 42 -> 7\)\. Use another --run folder, or --redo",
        lambda p: mixed(p, "--seed", "7", "--redo"),
    ),
    Case(
        "build: two inputs with one name", lambda p: mixed(p, added=p.lines("other/en.jsonl", ROW)),
        r"two inputs are called en\. Name them: NAME=FILE",
        lambda p: mixed(p, added=f"fi={p.lines('other/en.jsonl', ROW)}"),
    ),
    Case(
        "build: nothing at the path", lambda p: mixed(p, added=p.path / "gone.jsonl"),
        r"gone\.jsonl: cannot be read \(no such file", lambda p: mixed(p),
    ),
    Case(
        "build: no engine to translate with", lambda p: translated(p)[:-2],
        r"--base is missing\. Give the folder of the base model", translated,
        later=r"no row is left",
    ),
    Case(
        "verify: nothing to verify", lambda p: ["verify", p.path / "new"],
        r"01_tasks/done\.json: no such file\. Has the stage before", lambda p: replay(p),
    ),
    Case(
        "verify: a stage's summary is damaged",
        lambda p: (main_ok(replay(p)), p.file("new/03_scores/summary.json", '{"tallies": 5}'),
                   ["verify", p.path / "new"])[-1],
        r"03_scores/summary\.json: damaged: tallies: .*Restore it, or pass --redo",
        lambda p: (main_ok(replay(p, "--redo")), ["verify", p.path / "new"])[-1],
    ),
    Case(
        "curate: a run of nothing to compare with", lambda p: [*of_curate("stability"), "--run", p.path / "gone"],
        r"is not finished\. Give a finished --run, or stored --predictions FILE",
        lambda p: [*of_curate("stability"), "--run", p.path / "gone", "--predictions", p.predictions()],
    ),
    Case(
        "curate: a price in words", lambda p: dry("--price-per-million-tokens", "cheap"),
        r"give IN or IN,OUT, for example 0\.1,0\.3", lambda p: dry("--price-per-million-tokens", "0.1,0.3"),
    ),
    Case(
        "curate: a speed that is no number", lambda p: dry("--prompts-per-s", "nan"),
        r"--prompts-per-s nan: not a finite number\. Give one, for example 12\.5",
        lambda p: dry("--prompts-per-s", "12.5"),
    ),
    Case(
        "curate: an unknown option", lambda p: ["curate", "--tsaks", TASKS],
        r"No such option '--tsaks'.*--tasks.*See oneday curate --help", lambda p: dry("--tasks", TASKS),
    ),
    Case(
        "curate: a misspelt command", lambda p: ["curat"],
        r"No such command 'curat'.*See oneday --help", lambda p: dry(),
    ),
    Case(
        "curate: a finished mix was changed",
        lambda p: (main_ok(replay(p)), p.file("new/05_mix/train.jsonl", ""), replay(p))[-1],
        r"05_mix/train\.jsonl: missing or changed since the stage ended\. Restore it, or pass --redo",
        lambda p: replay(p, "--redo"),
    ),
    Case(
        "curate: its manifest is nested too deeply",
        lambda p: (p.file("new/manifest.json", OBJECTS), replay(p))[-1],
        r"new/manifest\.json: nested too deeply .*Restore it, or move it away",
        lambda p: (p.without("new/manifest.json"), replay(p))[-1],
    ),
    Case(
        "curate: no predictions given", lambda p: ["curate", "score"],
        r"Missing option '--predictions'\. See oneday curate score --help", lambda p: score(p.lines("p", PREDICTION)),
    ),
    Case(
        "curate: an empty file of predictions", lambda p: score(p.file("p", "")),
        r"p: no prediction in it\. Each line holds task, id, references, prediction",
        lambda p: score(p.lines("p", PREDICTION)),
    ),
    Case(
        "curate: a prediction without a text",
        lambda p: score(p.lines("p", PREDICTION, {**PREDICTION, "prediction": 5})),
        r"p: record 2 lacks `task`, `id` or `prediction` as text\. Add it", lambda p: score(p.lines("p", PREDICTION)),
    ),
    Case(
        "curate: a prediction of a kind unheard of", lambda p: score(p.lines("p", {**PREDICTION, "kind": ["x"]})),
        r"record 1 has kind \['x'\]\. Use exact_match or generation",
        lambda p: score(p.lines("p", {**PREDICTION, "kind": "exact_match"})),
    ),
    Case(
        "curate: predictions that are not UTF-8", lambda p: score(p.file("p", b"\xff\xfe\n")),
        r"p:1: not JSON .*UTF-8.*Mend or remove the line", lambda p: score(p.lines("p", PREDICTION)),
    ),
]  # fmt: skip

TRAIN = [
    Case("train: no mix", lambda p: ["train"],
            r"--mix is missing\. Give the folder", lambda p: train(p.mix()), TOO_SHORT),
    Case(
        "train: a mix that is not there", lambda p: train(p.path / "gone"),
        r"gone/train\.jsonl: no such file\. --mix takes a folder", lambda p: train(p.mix()), TOO_SHORT,
    ),
    Case(
        "train: a budget of 10**30 hours", lambda p: dry_train("--budget", f"{HUGE}h"),
        r"not a duration above 0 and up to 366d\. Write", lambda p: dry_train("--budget", "366d"),
    ),
    Case(
        "train: a key that stands twice, by its line",
        lambda p: dry_train("--config", p.recipe("seed: 2\n")),
        r"key 'seed' occurs twice in line \d\d, column 1: seed: 2 .*Mend the file",
        lambda p: dry_train("--config", p.recipe("seed: 2\n", instead_of="seed")),
    ),
    Case(
        "train: a recipe with a set where JSON has none",
        lambda p: train(p.mix(), "--config", p.recipe("overrides_of_model_config: {a: !!set {b}}\n")),
        r"overrides_of_model_config: JSON cannot hold this value .*Mend the value",
        lambda p: train(p.mix(), "--config", p.recipe("overrides_of_model_config: {a: [b]}\n")), TOO_SHORT,
    ),
    Case(
        "train: a recipe nested too deeply",
        lambda p: dry_train("--config", p.recipe(f"x: {'[' * 2000}{']' * 2000}\n")),
        r"recipe\.yml: nested too deeply\. Mend the file; a recipe is a flat mapping",
        lambda p: dry_train("--config", p.recipe()),
    ),
    Case(
        "train: a recipe with a tag that runs code",
        lambda p: dry_train("--config", p.recipe('x: !!python/object/apply:os.system ["true"]\n')),
        r"not YAML \(could not determine a constructor.*Mend the file",
        lambda p: dry_train("--config", p.recipe()),
    ),
    Case(
        "train: a recipe that is not UTF-8", lambda p: dry_train("--config", p.recipe(b"# \xff\n")),
        r"recipe\.yml: cannot be read .*--config takes a recipe",
        lambda p: dry_train("--config", p.recipe()),
    ),
    Case(
        "train: an empty recipe", lambda p: dry_train("--config", p.file("recipe.yml", "")),
        r"not a recipe, which is a mapping .*See axolotl_configs/",
        lambda p: dry_train("--config", p.recipe()),
    ),
    Case(
        "train: no base", lambda p: ["train", "--mix", p.mix(), "--config", RECIPE],
        r"neither the mix's run nor the recipe names one\. Pass --base FOLDER", lambda p: train(p.mix()), TOO_SHORT,
    ),
    Case(
        "train: no plan to follow", lambda p: train(p.mix(), "--follow-plan", p.path / "x.jsonl"),
        r"x\.jsonl: not a plan file\. Give the 07_train/plan\.jsonl of a run",
        lambda p: train(p.mix(), "--follow-plan", p.run() / "07_train/plan.jsonl"), TOO_SHORT,
    ),
    Case(
        "train: a detached run that is a file", lambda p: train(p.mix(), "--detach", "--run", p.file("file")),
        A_FILE, lambda p: train(p.mix(), "--run", p.path / "new"), TOO_SHORT,
    ),
    Case(
        "train: the manifest beside the mix is a list",
        lambda p: (p.file("manifest.json", "[]"), ["train", "--mix", p.mix(), "--config", RECIPE])[-1],
        r"manifest\.json: damaged: .*Restore it, or move it away",
        lambda p: (p.without("manifest.json"), train(p.mix()))[-1], TOO_SHORT,
    ),
    Case(
        "rehearse: a card that is not here", lambda p: ["rehearse", *plan(p, "--card", "h200", "--redo")[1:]],
        r"--card h200: nvidia-smi shows no card\. Check the driver, or use --card cpu",
        lambda p: ["rehearse", *plan(p, "--card", "cpu")[1:], "--run", p.run("other")],
    ),
    Case(
        "plan: 10**6 epochs", lambda p: plan(p, "--config", p.recipe("num_epochs: 1e300\n", instead_of="num_epochs")),
        r"num_epochs 1e\+300 of 20 rows exceed .* Lower num_epochs to 1500000 or less",
        lambda p: plan(p, "--config", RECIPE),
    ),
    Case(
        "plan: rows longer than the sequence",
        lambda p: plan(p, "--config", p.recipe("sequence_len: 5\n", instead_of="sequence_len")),
        r"train\.jsonl: none of 20 rows can be trained on; 20 too_long.*sequence_len 5\. Raise", lambda p: plan(p),
    ),
    Case(
        "plan: a tokenizer of nothing", lambda p: plan(p, "--base", p.base(tokenizer_json="{}")),
        r"base: its tokenizer cannot be loaded \(KeyError.*\)\. Check --base", lambda p: plan(p, "--base", DEMO_BASE),
    ),
    Case(
        "plan: the rehearsal is damaged", lambda p: (p.changed("06_plan/rehearsal.json", step_s="slow"), plan(p))[-1],
        r"rehearsal\.json: damaged: step_s: .*`oneday rehearse --redo` measures again",
        lambda p: (p.restored("06_plan/rehearsal.json"), plan(p))[-1],
    ),
    Case(
        "demo: a budget in words", lambda p: ["demo", "--budget", "soon"],
        r"--budget soon: not a duration .*Write it with units",
        lambda p: ["demo", "--budget", "2m30s", "--run", p.path / "new", "--retain", "2"], r"--retain 2\.0: not in",
    ),
]  # fmt: skip

LOOK = [
    Case(
        "pick: all checkpoints are damaged",
        lambda p: (p.damaged(f"{CHECKPOINTS}-10/adapter_config.json"), p.damaged(f"{CHECKPOINTS}-20/SEAL.json"),
                   ["pick", p.run()])[-1],
        r"no complete checkpoint \(checkpoint-10: adapter_config\.json has 1 bytes.*\)\. Run `oneday train` first",
        lambda p: (p.restored(f"{CHECKPOINTS}-10/adapter_config.json"), ["pick", p.run()])[-1],
    ),
    Case(
        "pick: scores of other checkpoints",
        lambda p: ["pick", p.run(), "--scores", p.file("scores.json", '{"checkpoint-99": 1}')],
        r"scores\.json: no score of checkpoint-10\. Give one of every checkpoint", lambda p: ["pick", p.run()],
    ),
    Case(
        "pick: scores that are no numbers",
        lambda p: ["pick", p.run(), "--scores", p.file("scores.json", '{"checkpoint-10": "good"}')],
        r"scores\.json: the score of checkpoint-10 is 'good'\. Give a finite number", lambda p: ["pick", p.run()],
    ),
    Case(
        "pick: scores and rows",
        lambda p: ["pick", p.run(), "--scores", p.file("scores.json", "{}"), "--average", "3"],
        r"scores\.json.* decide alone\. Leave .*--average", lambda p: ["pick", p.run()],
    ),
    Case(
        "pick: a base that moved",
        lambda p: ["pick", p.changed("manifest.json", train__base_path="/gone")],
        r"its base model, /gone, is not a local folder\. Pass --base FOLDER",
        lambda p: ["pick", p.run(), "--base", DEMO_BASE],
    ),
    Case(
        "pick: others' checkpoints without rows", lambda p: ["pick", p.run() / "07_train/output"],
        r"--validation is missing\. .*such as a mix's validation\.jsonl",
        lambda p: pick(p, p.run() / "05_mix/validation.jsonl"),
    ),
    Case(
        "pick: rows that are none",
        lambda p: pick(p, p.file("rows.jsonl", "")),
        r"rows\.jsonl: the file has no rows\. Give another one with --validation",
        lambda p: pick(p, p.run() / "05_mix/validation.jsonl"),
    ),
    Case(
        "pick: torn weights of somebody else's",
        lambda p: (p.file(f"{OTHER}/adapter_model.safetensors", b"\x10\0\0"), p.file(f"{OTHER}/adapter_config.json",
                   '{"peft_type": "LORA"}'), pick(p, p.run() / "05_mix/validation.jsonl", p.path / "others"))[-1],
        r"others: no complete checkpoint \(.*no adapter that fits.*\)\. Save it again, or give --base",
        lambda p: pick(p, p.run() / "05_mix/validation.jsonl"),
    ),
    Case(
        "watch: the ledger begins with no day",
        lambda p: ["watch", "--once", p.damaged("ledger.jsonl", '{"event":"stop","t":1,"up":1,"boot":""}\n')],
        r"ledger\.jsonl: the first record is not a start\. Restore the file",
        lambda p: ["watch", "--once", p.restored("ledger.jsonl")],
    ),
    Case(
        "ledger: no run", lambda p: ["ledger", p.folder("empty")],
        r"ledger\.jsonl: no ledger\. `oneday train` starts it; check the run folder",
        lambda p: ["ledger", p.run()],
    ),
    Case(
        "ledger: a line that is no record, by its number",
        lambda p: ["ledger", p.damaged("ledger.jsonl", ledger(p) + "5\n")],
        r"ledger\.jsonl:4: not a ledger record\. Remove the line",
        lambda p: ["ledger", p.damaged("ledger.jsonl", ledger(p))],
    ),
    Case(
        "study: no study said", lambda p: ["study", "--dry-run"],
        r"which study\? Give a YAML file", lambda p: ["study", "birbal", "--dry-run"],
    ),
    Case(
        "study: a name misspelt", lambda p: ["study", "finish", "--dry-run"],
        r"finish: no such study \(did you mean finnish\?\)", lambda p: ["study", "finnish", "--dry-run"],
    ),
    Case(
        "study: a preset that it lacks", lambda p: ["study", "taiwan", "--dry-run", "--preset", "papers"],
        r"--preset papers: taiwan\.yml has no such preset \(did you mean paper\?\)",
        lambda p: ["study", "taiwan", "--dry-run", "--preset", "paper"],
    ),
    Case(
        "study: a budget too small for the anchor", lambda p: ["study", "birbal", "--dry-run", "--budget", "1h"],
        r"--budget 1h00m00s is too small: the anchor 200k alone needs 5h\d+m\d+s",
        lambda p: ["study", "birbal", "--dry-run", "--budget", "6h"],
    ),
    Case(
        "study: a setting misspelt", lambda p: ["study", "birbal", "--dry-run", "--set", "sft.learning_rat=1e-5"],
        r"sft: unknown key 'learning_rat' \(did you mean learning_rate\?\)",
        lambda p: ["study", "birbal", "--dry-run", "--set", "sft.learning_rate=1e-5"],
    ),
    Case(
        "study: a training that the card cannot run",
        lambda p: ["study", "birbal", "--run", p.path / "s", "--card", "cpu"],
        r"stage sft of 200k cannot be trained here: .*card.cpu.*: the recipe needs a GPU for .*optimizer: paged_adamw",
        lambda p: ["study", "birbal", "--run", p.path / "s", "--card", "rtx4090"],
        later=r"Mistral-7B-v0\.1",
    ),
    Case(
        "report: no run said", lambda p: ["report"],
        r"no run is given\. Write `oneday report RUN`", lambda p: ["report", p.run()],
    ),
    Case(
        "report: two runs without a word", lambda p: ["report", p.run(), p.run("other")],
        r"`oneday report --compare A B` for two runs", lambda p: ["report", "--compare", p.run(), p.run("other")],
    ),
    Case(
        "compare: nothing picked", lambda p: compare(p.folder("empty")),
        r"empty: no picked checkpoint\. Train first, or run `oneday pick", lambda p: compare(p.run()),
    ),
    Case(
        "compare: a mix that is not there", lambda p: compare(p.run(), "--mix", p.path / "gone"),
        r"gone: no validation\.jsonl in it\. Give the mix of the run with --mix",
        lambda p: compare(p.run(), "--mix", p.run() / "05_mix"),
    ),
    Case(
        "compare: a mix without rows", lambda p: compare(p.damaged("05_mix/validation.jsonl", "")),
        r"validation\.jsonl: no rows in it\. Give the mix of the run with --mix",
        lambda p: compare(p.run(), "--mix", p.run("other") / "05_mix"),
    ),
    Case(
        "compare: picked.json is damaged", lambda p: compare(p.changed(PICKED, validation_loss="low")),
        r"picked\.json: damaged: validation_loss: .*`oneday pick .*/run` writes it again",
        lambda p: (main_ok(["pick", p.run()]), compare(p.run()))[-1],
    ),
]  # fmt: skip

GIVE = [
    Case(
        "export: nothing picked", lambda p: ["export", p.folder("empty")],
        r"empty: nothing picked in it\. Run `oneday train`, or `oneday pick", lambda p: ["export", p.run()],
    ),
    Case(
        "package: a folder that holds something",
        lambda p: ["package", p.run(), "--out", (p.path / "run" / "05_mix")],
        r"--out .*05_mix: is there and not empty\. Remove it, or give another folder",
        lambda p: ["package", p.run(), "--out", p.path / "packaged"],
    ),
    Case(
        "export: a base that is not there", lambda p: ["export", p.run(), "--merge", "fp32", "--base", p.path / "gone"],
        r"its base model .*gone is not here\. Pass --base FOLDER",
        lambda p: ["export", p.run(), "--merge", "fp32", "--base", DEMO_BASE, "--no-check"],
    ),
    Case(
        "export: a base whose shards are not there",
        lambda p: ["export", p.run(), "--merge", "fp32", "--base-changed-on-purpose", "--base",
                   p.base(**{"model.safetensors.index_json": '{"weight_map": {"a": "../../gone.safetensors"}}'})],
        r"gone\.safetensors: cannot be read .*Fetch or save it again",
        lambda p: ["export", p.run(), "--merge", "fp32", "--no-check", "--base",
                   p.base(**{"model.safetensors.index_json": None})],
    ),
    Case(
        "export: the adapter is gone",
        lambda p: (p.run(), p.without("run/08_pick/adapter-20"), ["export", p.run()])[-1],
        r"adapter-20: not whole .*`oneday pick .*/run` writes it anew",
        lambda p: (main_ok(["pick", p.run()]), ["export", p.run()])[-1],
    ),
    Case(
        "export: the adapter's rank is none",
        lambda p: ["export", "--merge", "fp32", p.changed(LORA, r=0)],
        r"adapter_config\.json: r or lora_alpha is no number\. Save the adapter again",
        lambda p: ["export", "--merge", "fp32", "--no-check", p.restored(LORA)],
    ),
    Case(
        "export: the manifest's training is a number",
        lambda p: ["export", p.changed("manifest.json", train__recipe=5)],
        r"manifest\.json: damaged: train\.recipe: .*Restore it, or move it away and run `oneday pick",
        lambda p: (p.without("run/manifest.json"), main_ok(["pick", p.run()]), ["export", p.run()])[-1],
    ),
    Case(
        "export: the comparison is damaged", lambda p: ["export", p.damaged("10_scores/comparison.json", "[5]")],
        r"comparison\.json: damaged: 0: .*oneday compare .* --redo measures anew",
        lambda p: (main_ok(compare(p.run(), "--redo")), ["export", p.run()])[-1],
    ),
    Case(
        "export: validation rows that cannot be read",
        lambda p: ["export", "--merge", "fp32", p.damaged("07_train/data/validation.parquet", "PAR1")],
        r"validation\.parquet: cannot be read .*Restore it, or pass --no-check",
        lambda p: ["export", "--merge", "fp32", "--no-check", p.run()],
    ),
    Case(
        "serve: a checkpoint that is not there", lambda p: ["serve", "--checkpoint", p.path / "gone"],
        r"gone: no such folder\. --checkpoint takes a run, an adapter or a model folder",
        lambda p: serve(p), NOT_SERVED,
    ),
    Case(
        "serve: a port in use, told before the model is loaded", lambda p: serve(p, "--port", p.busy_port()),
        r"--port \d+: cannot listen on 127\.0\.0\.1 .*Stop what runs there, or take another",
        lambda p: serve(p, "--port", p.freed_port()), NOT_SERVED,
    ),
    Case(
        "serve: an address of nobody", lambda p: serve(p, "--host", "256.256.256.256"),
        r"--host 256\.256\.256\.256: cannot listen there .*Give an address of this machine: 127\.0\.0\.1",
        lambda p: serve(p, "--host", "127.0.0.1"), NOT_SERVED,
    ),
    Case(
        "serve: an empty address", lambda p: serve(p, "--host", ""),
        r"--host is empty\. Give 127\.0\.0\.1", lambda p: serve(p, "--host", "127.0.0.1"), NOT_SERVED,
    ),
    Case(
        "serve: a token that could be guessed", lambda p: serve(p, "--token-file", p.file("token", "secret\n")),
        r"--token-file \S+: no token of at least 16 ASCII characters .*`openssl rand -hex 32` makes one",
        lambda p: serve(p, "--token-file", p.file("token", "0123456789abcdef\n")), NOT_SERVED,
    ),
    Case(
        "serve: a chat template that is not there", lambda p: serve(p, "--chat-template", p.path / "gone.jinja"),
        r"--chat-template \S+: cannot be read .*Give a Jinja file",
        lambda p: serve(p, "--chat-template", p.file("chat.jinja", "{{ messages }}")), NOT_SERVED,
    ),
    Case(
        "serve: an adapter that names no base",
        lambda p: ["serve", "--port", "0", "--checkpoint", p.file("a/adapter_config.json", "{}").parent],
        r"/a: it does not say which base model it belongs to\. Pass --base FOLDER",
        lambda p: serve(p, "--checkpoint", p.path / "a", "--base", p.base()),
        NOT_SERVED,
    ),
    Case(
        "serve: what says how the base was kept is damaged",
        lambda p: ["serve", "--port", "0", "--checkpoint", p.damaged("08_pick/adapter-20/trained_base.json", "{}")],
        r"trained_base\.json: damaged: quantisation: .*Restore it, or publish the adapter again",
        lambda p: serve(p, "--base", p.base(), "--checkpoint", p.restored("08_pick/adapter-20/trained_base.json"),
                         "--base-changed-on-purpose"),
        NOT_SERVED,
    ),
    Case(
        "try: a folder of nothing", lambda p: try_("--checkpoint", p.folder("empty")),
        r"no picked checkpoint, no adapter and no model in it\. Run `oneday pick` first",
        lambda p: try_("--checkpoint", p.run()),
    ),
    Case(
        "try: a million characters", lambda p: ["try", "word " * 210_000, "--checkpoint", DEMO_BASE],
        r"the prompt: 1,\d+,\d+ characters, at most 1,000,000\. Shorten it", lambda p: try_("--checkpoint", DEMO_BASE),
    ),
    Case(
        "try: an adapter's weights cut off", lambda p: try_("--checkpoint", p.damaged(WEIGHTS, b"\x10\0\0")),
        r"adapter-20: no adapter that fits .*header too small\)\. Save it again \(in a run: `oneday pick RUN`\)",
        lambda p: (main_ok(["pick", p.run()]), try_("--checkpoint", p.run()))[-1],
    ),
    Case(
        "chat: a folder of nothing", lambda p: ["chat", p.folder("empty")],
        r"no picked checkpoint, no adapter and no model in it\. Run `oneday pick` first",
        lambda p: ["chat", p.run(), "--base", p.path / "gone"], r"its base model .*gone is not a local folder",
    ),
    Case(
        "helm: a suite unheard of", lambda p: ["helm", "--dry-run", "--suite", "closed"],
        r"--suite closed: not simple, open, hidden, all, and no readable file\. Use one of these",
        lambda p: ["helm", "--dry-run", "--suite", "open"],
    ),
    Case(
        "helm: an empty file of entries", lambda p: ["helm", "--dry-run", "--suite", p.file("mine.conf", "\n")],
        r"mine\.conf: nothing in it\. Write `entries` as in submission/run_specs\.conf",
        lambda p: ["helm", "--dry-run", "--suite", p.file("mine.conf", "entries: []\n")],
    ),
    Case(
        "helm: a checkpoint and an address",
        lambda p: ["helm", "--dry-run", "--url", "http://x", "--checkpoint", DEMO_BASE],
        r"--checkpoint with --url: give one", lambda p: ["helm", "--dry-run", "--checkpoint", DEMO_BASE],
    ),
    Case(
        "helm: no data where it was said, told before anything is installed",
        lambda p: ["helm", "--gsm8k", p.folder("empty")],
        r"--gsm8k: .*train\.jsonl: No such file or directory\. Pass the folder that holds GSM8K's train\.jsonl",
        lambda p: ["helm", "--dry-run", "--gsm8k",
                   p.lines("empty/train.jsonl", *[{"question": "a", "answer": "b"}] * 2).parent],
    ),
    Case(
        "score: a name that is no text",
        lambda p: ["score", p.file("x.json", p.table().read_text().replace('"a"', r'"\ud800"', 1))],
        r"'\\ud800' is not valid Unicode .*Rename the submission", lambda p: ["score", p.table("x.json")],
    ),
    Case(
        "reproduce: a log is gone", lambda p: (p.run(), p.without("run/07_train/batches.jsonl"), reproduce(p))[-1],
        r"batches\.jsonl: no such file\. Repeating a run needs its whole folder",
        lambda p: (p.run("other").rename(p.path / "whole"), p.path.joinpath("run").rename(p.path / "part"),
                   p.path.joinpath("whole").rename(p.path / "run"), reproduce(p))[-1], NO_MIX,
    ),
    Case(
        "reproduce: a log is damaged, told before a day is spent",
        lambda p: (p.damaged("07_train/batches.jsonl", '{"step": 1}\n'), reproduce(p))[-1],
        r"batches\.jsonl: record 1 lacks step, batch, lr or loss\. Restore the file",
        lambda p: (p.restored("07_train/batches.jsonl"), reproduce(p))[-1], NO_MIX,
    ),
    Case(
        "reproduce: a mix of no known making", lambda p: reproduce(p, "--curate"),
        r"its manifest does not record how the mix was curated\. Leave --curate out", lambda p: reproduce(p), NO_MIX,
    ),
    Case(
        "doctor: a base that is not there", lambda p: ["doctor", "--card", "cpu", "--base", p.path / "gone"],
        r"base model: .*gone: no such model folder\. Give the folder that holds config\.json",
        lambda p: ["doctor", "--card", "cpu", "--base", DEMO_BASE], r"problems?: ",
    ),
    Case(
        "base: a folder that holds something else", lambda p: ["base", "smollm2-135m", DEMO_BASE],
        r"demo_base: exists, and is not smollm2-135m as this program makes it\. Give another folder",
        lambda p: ["base", "smollm2-135m", p.path / "new", "--dry-run"],
    ),
]  # fmt: skip

ITEM = {"key": 1, "prompt": "No comma.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
RESPONSE = {"key": 1, "response": "None."}


def evaluate(p: Place, responses: object, *more: object, items: object = None, suite: str = "ifeval") -> list[object]:
    return ["evaluate", suite, "--items", items or p.lines("items", ITEM), "--responses", responses, *more]


EVALUATE = [
    Case(
        "evaluate: a suite unheard of", lambda p: evaluate(p, p.lines("r", RESPONSE), suite="ifevla"),
        r"suite ifevla: unknown \(did you mean ifeval\?\)\. Known are ifeval, ",
        lambda p: evaluate(p, p.lines("r", RESPONSE)),
    ),
    Case(
        "evaluate: the responses of another suite",
        lambda p: evaluate(p, p.lines("r", {**RESPONSE, "suite": "drcd", "id": 1})),
        r"/r: no response of ifeval in it; it holds drcd \(1\)\. Give the file of ifeval",
        lambda p: evaluate(p, p.lines("r", {**RESPONSE, "suite": "ifeval", "id": 1})),
    ),
    Case(
        "evaluate: ids renamed", lambda p: evaluate(p, p.lines("r", {**RESPONSE, "key": "q1"})),
        r"/r: no response for 1 of 1 items of ifeval: 1\. 1 ids that .*: q1\. Add .* --partial",
        lambda p: evaluate(p, p.lines("r", {**RESPONSE, "key": "q1"}), "--partial"),
    ),
    Case(
        "evaluate: half a line", lambda p: evaluate(p, p.lines("r", RESPONSE, '{"key": 2, "resp')),
        r"/r:2: not JSON .*Mend or remove the line", lambda p: evaluate(p, p.lines("r", RESPONSE)),
    ),
    Case(
        "evaluate: a response of 2 MB", lambda p: evaluate(p, p.lines("r", {**RESPONSE, "response": "x" * 2_000_000})),
        r"/r:1: a response of 2,000,000 characters; at most 1,000,000 are scored\. Cut it",
        lambda p: evaluate(p, p.lines("r", {**RESPONSE, "response": "x" * 1_000_000})),
    ),
    Case(
        "evaluate: prompts that differ from the suite's",
        lambda p: evaluate(p, p.lines("r", {**RESPONSE, "prompt": "A comma?"})),
        r"/r: 1 of 1 prompts differ from those of ifeval \(first: 1\): it answers other questions",
        lambda p: evaluate(p, p.lines("r", {**RESPONSE, "prompt": "No comma."})),
    ),
    Case(
        "evaluate: one item answered twice", lambda p: evaluate(p, p.lines("r", RESPONSE, RESPONSE)),
        r"/r: lines 1 and 2 both answer 1\. Remove one", lambda p: evaluate(p, p.lines("r", RESPONSE)),
    ),
    Case(
        "evaluate: responses that are not there", lambda p: evaluate(p, p.path / "gone"),
        r"gone: cannot be read \(No such file or directory\)", lambda p: evaluate(p, p.lines("gone", RESPONSE)),
    ),
    Case(
        "evaluate: other responses of another suite",
        lambda p: evaluate(p, p.lines("r", RESPONSE), "--against", p.lines("s", {"task": "DRCD", **RESPONSE})),
        r"/s: no response of ifeval in it; it holds DRCD \(1\)",
        lambda p: evaluate(p, p.lines("r", RESPONSE), "--against", p.lines("s", RESPONSE)),
    ),
    Case(
        "evaluate: items that are none", lambda p: evaluate(p, p.lines("r", RESPONSE), items=p.lines("i", RESPONSE)),
        r"/i: row 1 lacks prompt, instruction_id_list, kwargs: these are no IFEval prompts",
        lambda p: evaluate(p, p.lines("r", RESPONSE), items=p.lines("i", ITEM)),
    ),
    Case(
        "evaluate: a folder without items", lambda p: evaluate(p, p.lines("r", RESPONSE), items=p.folder("folder")),
        r"folder: holds no input_data\.jsonl\. Give the file",
        lambda p: evaluate(p, p.lines("r", RESPONSE), items=p.lines("folder/input_data.jsonl", ITEM).parent),
    ),
    Case(
        "evaluate: a parameter without a value", lambda p: evaluate(p, p.lines("r", RESPONSE), "--set", "letter_rule"),
        r"--set letter_rule: no value\. Write KEY=VALUE",
        lambda p: evaluate(p, p.lines("r", RESPONSE), "--set", "letter_rule=upstream"),
    ),
    Case(
        "evaluate: a file in place of the results",
        lambda p: evaluate(p, p.lines("r", RESPONSE), "--out", p.file("out")),
        r"out: a file is in the place of this folder\. Give another --out",
        lambda p: evaluate(p, p.lines("r", RESPONSE), "--out", p.path / "other"),
    ),
]  # fmt: skip


def generate(p: Place, *more: object, items: object = None) -> list[object]:
    asked = ["--model", DEMO_BASE, "--max-new-tokens", 2, *more]
    return ["generate", "ifeval", "--items", items or p.lines("items", ITEM), "--out", p.path / "r.jsonl", *asked]


GENERATE = [
    Case(
        "generate: items that are none", lambda p: generate(p, items=p.lines("i", RESPONSE)),
        r"/i: row 1 lacks prompt, instruction_id_list, kwargs: these are no IFEval prompts",
        lambda p: generate(p, items=p.lines("i", ITEM), ),
    ),
    Case(
        "generate: a file of unknown origin", lambda p: generate(p, "--out", p.lines("old.jsonl", RESPONSE)),
        r"old.jsonl: has no manifest, so nobody knows its model\. Give another --out, or pass --redo",
        lambda p: generate(p, "--out", p.lines("old.jsonl", RESPONSE), "--redo"),
    ),
    Case(
        "generate: an answer longer than the context", lambda p: generate(p, "--max-new-tokens", 4096),
        r"ifeval: none of 1 prompts can be asked \(prompt_too_long: .*\)\. Give another template, or a",
        lambda p: generate(p),
    ),
]  # fmt: skip

CASES = [*CURATE, *TRAIN, *LOOK, *GIVE, *EVALUATE, *GENERATE]


@pytest.fixture
def place(tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["oneday"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the same answers on a machine with a card
    found = Place(tmp_path, finished_run)
    yield found
    found.close()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_wrong_input_is_one_line_with_a_mend_that_works(
    case: Case, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    command = case.wrong(place)
    capsys.readouterr()
    assert exit_code_of(command) == 2
    line = error_line(capsys)
    assert re.search(case.message, line), line

    command = case.mended(place)
    capsys.readouterr()
    code = exit_code_of(command)
    if not case.later:
        assert code == 0, capsys.readouterr().err
    elif code:
        line = error_line(capsys)
        assert code == 2
        assert re.search(case.later, line), line
        assert not re.search(case.message, line), line


VALUES = [
    ("--rouge bleu: unknown. Use", lambda p: dry("--rouge", "bleu")),
    ("--normaliser x: unknown. Use", lambda p: dry("--normaliser", "x")),
    ("--licences mine: unknown. Use", lambda p: dry("--licences", "mine")),
    ("--precision int3: unknown. Use", lambda p: dry("--precision", "int3")),
    ("--predictor oracle: unknown. Use", lambda p: dry("--predictor", "oracle")),
    ("--predictor magic: unknown. Use", lambda p: dry("--predictor", "ray:magic")),
    ("--clock soft: unknown. Use", lambda p: train(p.mix(), "--clock", "soft")),
    ("--track nope: unknown. Use", lambda p: train(p.mix(), "--track", "nope")),
    ("--card rtx9999: unknown card. Use", lambda p: dry_train("--card", "rtx9999")),
    ("--card x: unknown card. Use", lambda p: ["doctor", "--card", "x"]),
    ("--precision int3: unknown. Use", lambda p: ["pick", p.run(), "--precision", "int3"]),
    ("--precision int3: unknown. Use", lambda p: ["helm", "--precision", "int3"]),
    ("--precision int3: unknown. Use", lambda p: serve(p, "--precision", "int3")),
    ("--overlong fold: unknown. Use", lambda p: serve(p, "--overlong", "fold")),
    ("--merge int8: unknown. Use", lambda p: ["export", p.run(), "--merge", "int8"]),
    ("'--instances-per-task': 0 is not in the range", lambda p: dry("--instances-per-task", "0")),
    ("is not in the range 0<=x<=1000.", lambda p: dry("--shots", HUGE)),
    ("'--seed': -1 is not in the range", lambda p: dry("--seed", "-1")),
    ("is not in the range 0<=x<=4294967295.", lambda p: dry("--seed", HUGE)),
    ("'--average': 1000 is not in the range", lambda p: dry_train("--average", "1000")),
    ("'--questions': 0 is not in the range", lambda p: ["compare", p.run(), "--questions", "0"]),
    ("'--questions': -1 is not in the range", lambda p: reproduce(p, "--questions", "-1")),
    ("'--port': 99999 is not in the range", lambda p: serve(p, "--port", "99999")),
    ("is not in the range 1<=x<=100000.", lambda p: serve(p, "--max-waiting", HUGE)),
    ("'--max-new-tokens': 0 is not in the range", lambda p: try_("--max-new-tokens", "0")),
    ("--scale nan: not in (0, 1].", lambda p: dry("--scale", "nan")),
    ("--retain nan: not in [0, 1).", lambda p: dry("--retain", "nan")),
    ("--retain 1.0: not in [0, 1).", lambda p: ["demo", "--retain", "1", "--run", p.path / "new"]),
    ("--fit 24: not a duration", lambda p: dry("--fit", "24", "--tokens-per-s", "5")),
    ("--budget -1h: not a duration", lambda p: dry_train("--budget", "-1h")),
    ("--budget nan: not a duration", lambda p: plan(p, "--budget", "nan")),
    ("--time 10: not a duration", lambda p: ["pick", p.run(), "--time", "10"]),
    ("--deadline 10: not a duration", lambda p: serve(p, "--deadline", "10")),
]
"""Options that take one of several words, a number of a range, or a duration."""


@pytest.mark.parametrize(("message", "command"), VALUES, ids=[message for message, _ in VALUES])
def test_a_value_that_an_option_does_not_take_is_named_with_it(
    message: str, command: Command, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    given = command(place)
    capsys.readouterr()
    assert exit_code_of(given) == 2
    assert message in error_line(capsys)


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of stderr, and the only one that is an error."""
    lines = capsys.readouterr().err.strip().split("\n")
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors == lines[-1:], lines
    assert "Traceback" not in "".join(lines)
    assert errors[0].isprintable()
    return errors[0]


def test_every_command_has_wrong_input_of_its_own() -> None:
    number = Counter(case.name.partition(": ")[0] for case in CASES)
    assert set(number) == {entry.name for entry in COMMANDS}
    assert max(Counter(case.name for case in CASES).values()) == 1


def test_no_command_at_all_is_answered_with_help(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of([]) == 2
    seen = capsys.readouterr()
    assert "A first look: oneday demo" in seen.out
    assert seen.err == ""
