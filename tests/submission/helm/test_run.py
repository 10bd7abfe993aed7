"""HELM's results read back, and the real HELM where it is installed."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from oneday.cli import main
from oneday.commands.helm import measured_columns, served
from oneday.requests.submission import HelmRequest
from submission.errors import HelmError
from submission.helm.results import SCHEMA, read_log, read_runs
from submission.helm.run import Helm, HelmRun, install, is_installed, run_helm, wait_for
from submission.helm.suite import RUN_SPECS, place_gsm8k, place_scenarios, read_suite
from submission.score.ranks import COLUMNS
from tests.conftest import SHARED
from tests.submission.server.scripted_server import KnownAnswers, scripted

ROOT = Path(__file__).parents[3]
DEMO_BASE = "oneday/demo/demo_base"

RETRIED = """\
2026-01-01 10:00:00,000 INFO       4 entries produced 2 run specs
2026-01-01 10:00:01,000 INFO       Running simple_mcqa:model=neurips_local {
2026-01-01 10:00:02,000 INFO             Request error: 500 Server Error
2026-01-01 10:00:02,001 INFO             Request failed. Retrying (attempt #2) in 10 seconds... (See above)
2026-01-01 10:00:09,000 INFO       } [8s]
2026-01-01 10:00:10,000 INFO       Running gsm:model=neurips_local {
2026-01-01 10:00:11,000 INFO       Error when running gsm:model=neurips_local:
Traceback (most recent call last):
  File "runner.py", line 220, in run_all
    raise LookupError(resource_not_found)
LookupError: Resource punkt_tab not found.
2026-01-01 10:00:11,001 INFO     } [10s]
Traceback (most recent call last):
helm.benchmark.runner.RunnerError: Failed runs: ["gsm:model=neurips_local"]
"""


def test_a_log_tells_retries_and_why_a_run_failed() -> None:
    log = read_log(RETRIED.splitlines(keepends=True))
    assert (log.num_runs, log.num_retries) == (2, 1)
    assert log.started == ("simple_mcqa:model=neurips_local", "gsm:model=neurips_local")
    assert log.failed == {"gsm:model=neurips_local": "LookupError: Resource punkt_tab not found."}


def test_a_failed_run_that_succeeds_when_gone_on_with_is_no_failure() -> None:
    again = """\
2026-01-01 11:00:00,000 INFO       4 entries produced 2 run specs
2026-01-01 11:00:01,000 INFO       Running simple_mcqa:model=neurips_local {
2026-01-01 11:00:02,000 INFO       Running gsm:model=neurips_local {
"""
    log = read_log((RETRIED + again).splitlines())
    assert (log.failed, len(log.started), log.num_retries) == ({}, 2, 1)


def test_an_empty_log_tells_of_nothing() -> None:
    log = read_log([])
    assert (log.num_runs, log.num_retries, log.failed, log.started) == (0, 0, {}, ())


def stat(metric: str, mean: float | None, split: str = "test", **perturbation: Any) -> dict[str, Any]:
    names = {"name": metric, "split": split} | ({"perturbation": perturbation} if perturbation else {})
    return {"name": names, "count": 1, "sum": mean or 0.0} | ({} if mean is None else {"mean": mean})


def write_run(
    suite: Path, name: str, groups: list[str], stats: list[dict[str, Any]], answers: list[tuple[int, list[str], str]]
) -> None:
    """What HELM leaves, with what is read of it; an answer is (max_tokens, stop_sequences, text), a token a word."""
    folder = suite / name
    folder.mkdir(parents=True)
    states = [
        {
            "request": {"max_tokens": number, "stop_sequences": stops, "echo_prompt": False},
            "result": {"completions": [{"text": text, "logprob": 0, "tokens": [{"text": t} for t in text.split()]}]},
        }
        for number, stops, text in answers
    ]
    (folder / "run_spec.json").write_text(json.dumps({"name": name, "groups": groups}))
    (folder / "stats.json").write_text(json.dumps(stats))
    (folder / "scenario_state.json").write_text(json.dumps({"request_states": states}))


def test_each_run_is_scored_by_its_main_metric_on_its_main_split(tmp_path: Path) -> None:
    gsm = [stat("exact_match_indicator", 0.25), stat("exact_match_indicator", 0.9, "train"), stat("num_instances", 8)]
    truthful = [stat("exact_match", 0.5, "valid"), stat("exact_match", 0.1), stat("num_output_tokens", 1.5, "valid")]
    write_run(tmp_path, "gsm:model=x", ["gsm"], gsm, [(400, ["\n\n"], " 48 + 24 = 72")])
    write_run(tmp_path, "truthful_qa:model=x", ["truthful_qa"], truthful, [(1, [], " A")])
    first, second = read_runs(tmp_path)
    assert (first.group, first.metric, first.score, first.num_instances) == ("gsm", "exact_match_indicator", 0.25, 8)
    assert (second.metric, second.score, second.output_tokens) == ("exact_match", 0.5, 1.5)


def test_the_worst_case_of_a_family_is_kept_and_other_perturbations_are_not(tmp_path: Path) -> None:
    stats = [
        stat("exact_match", 0.6),
        stat("exact_match", 0.4, name="robustness", computed_on="worst"),
        stat("exact_match", 0.5, name="robustness", computed_on="perturbed"),
        stat("exact_match", 0.3, name="typos", computed_on="worst"),
        stat("training_co2_cost", None),
    ]
    write_run(tmp_path, "mmlu:subject=anatomy", ["mmlu"], stats, [])
    assert read_runs(tmp_path)[0].metrics == {"exact_match": 0.6, "exact_match (robustness)": 0.4}


def test_a_big_bench_task_goes_by_the_group_that_its_entry_adds(tmp_path: Path) -> None:
    write_run(tmp_path, "big_bench:task=x", ["big_bench_x", "BIG-bench"], [stat("bleu_1", 0.2)], [])
    result = read_runs(tmp_path)[0]
    assert (result.group, result.score) == ("BIG-bench", None)


@pytest.mark.parametrize(
    ("answer", "overruns"),
    [
        ((5, ["\n"], " Even"), 0),
        ((5, [], " one two three four five"), 0),
        ((5, [], " one two three four five six"), 1),
        ((400, ["\n\n"], " 72\n\nQuestion:"), 1),
        ((5, ["\n"], ""), 0),
    ],
)
def test_an_answer_beyond_what_was_asked_for_is_an_overrun(
    answer: tuple[int, list[str], str], overruns: int, tmp_path: Path
) -> None:
    write_run(tmp_path, "simple_mcqa", ["simple_mcqa"], [stat("exact_match", 0.0)], [answer])
    assert read_runs(tmp_path)[0].num_overruns == overruns


def test_a_folder_that_helm_did_not_write_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "gsm", ["gsm"], [], [])
    (tmp_path / "gsm" / "stats.json").write_text("{}")
    with pytest.raises(HelmError, match="not what HELM"):
        read_runs(tmp_path)


def section(name: str) -> list[str]:
    found = re.search(rf"^{name}: \[\n(.*?)^\]", RUN_SPECS.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return re.findall(r'description: "(\w+):', found[1])


def test_the_suites_hold_the_challenges_open_and_hidden_scenarios() -> None:
    assert set(section("open")) == {"big_bench", "mmlu", "truthful_qa", "summarization_cnndm", "gsm", "bbq"}
    ethics = {f"ethics_{part}" for part in ("justice", "commonsense", "virtue", "deontology", "utilitarianism")}
    assert set(section("hidden")) == {"sam_sum", "corr2cause", "local_math"} | ethics
    assert len(section("open")) == 88
    assert len(section("hidden")) == 21
    assert read_suite("hidden").conf.endswith("entries: ${hidden}\n")


def test_helm_summarize_is_told_to_show_every_column_that_is_scored() -> None:
    schema = yaml.safe_load(SCHEMA.read_text())
    metrics = {m["name"]: m["display_name"] for m in schema["metrics"]}
    families = {p["name"]: p["display_name"] for p in schema["perturbations"]}
    tables = {g["name"]: g["metrics"] for g in schema["metric_groups"]}
    shown = set()
    for group in (g for g in schema["run_groups"] if "environment" in g):
        for metric in (metric for table in group["metric_groups"] for metric in tables[table]):
            name = metrics[metric["name"].replace("${main_name}", group["environment"]["main_name"])]
            family = f" ({families[metric['perturbation_name']]})" if "perturbation_name" in metric else ""
            shown.add(f"{group['display_name']} - {name}{family}")
    assert set(COLUMNS) <= shown


def test_instances_lower_what_entries_ask_for_and_never_raise_it(tmp_path: Path) -> None:
    (tmp_path / "two.conf").write_text("a,max_eval_instances=61 b,max_eval_instances=3 c")
    assert read_suite(str(tmp_path / "two.conf"), at_most=5).conf == "a,max_eval_instances=5 b,max_eval_instances=3 c"
    assert read_suite(str(tmp_path / "two.conf")).name == "two"


def test_a_file_named_like_a_suite_keeps_its_results_apart(tmp_path: Path) -> None:
    (tmp_path / "open.conf").write_text("entries: []")
    assert read_suite(str(tmp_path / "open.conf")).name == "open-file"


def gsm8k_row(number: int) -> str:
    question = f"Anna has {number} shells and finds {number} more. How many has she?"
    answer = f"She has {number} + {number} = <<{number}+{number}={2 * number}>>{2 * number} shells.\n#### {2 * number}"
    return json.dumps({"question": question, "answer": answer}) + "\n"


def made_up_gsm8k(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "train.jsonl").write_text("".join(map(gsm8k_row, range(100))))
    return folder


def test_without_gsm8ks_test_file_the_last_tenth_stands_in_and_is_no_shot(tmp_path: Path) -> None:
    note = place_gsm8k(made_up_gsm8k(tmp_path / "gsm8k"), tmp_path / "scenarios")
    train, test = (
        (tmp_path / "scenarios" / "gsm" / f"gsm_data_{s}").read_text().splitlines() for s in ("train", "test")
    )
    assert (len(train), len(test), set(train) & set(test)) == (90, 10, set())
    assert "not GSM8K's test set" in note


def test_gsm8ks_own_test_file_is_taken(tmp_path: Path) -> None:
    (made_up_gsm8k(tmp_path) / "test.jsonl").write_text(gsm8k_row(7) + gsm8k_row(8))
    assert "its test rows" in place_gsm8k(tmp_path, tmp_path / "scenarios")
    assert (tmp_path / "scenarios" / "gsm" / "gsm_data_test").read_text() == gsm8k_row(7) + gsm8k_row(8)


@pytest.mark.parametrize("content", ["", "{}\n{}\n", "3\n4\n", "not json\n", gsm8k_row(1)])
def test_a_file_that_is_not_gsm8k_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(HelmError, match="Take GSM8K's"):
        place_gsm8k(tmp_path, tmp_path / "scenarios")


def test_data_is_laid_where_helm_looks_and_what_is_there_stays(tmp_path: Path) -> None:
    mine, helms = tmp_path / "mine", tmp_path / "scenarios"
    for folder, text in ((mine, "new"), (helms, "old")):
        (folder / "mmlu" / "data").mkdir(parents=True)
        (folder / "mmlu" / "data" / "a.csv").write_text(text)
    (mine / "mmlu" / "data" / "b.csv").write_text("new")
    place_scenarios(mine, helms)
    assert (helms / "mmlu" / "data" / "a.csv").read_text() == "old"
    assert (helms / "mmlu" / "data" / "b.csv").read_text() == "new"


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(HelmError, match="no virtual environment"):
        install(tmp_path)


def test_an_install_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HelmError, match=r"cannot be installed in .*no output"):
        install(tmp_path / "new", python="/bin/false")
    with pytest.raises(HelmError, match="No such file"):
        install(tmp_path / "new", python=str(tmp_path / "python"))


def test_a_server_that_is_not_there_is_told_before_helm_starts() -> None:
    with pytest.raises(HelmError, match=r"no server that answers /tokenize .* oneday serve"):
        wait_for("http://127.0.0.1:9", patience_s=0.0)


def test_a_scripted_server_passes_the_check(tmp_path: Path) -> None:
    with scripted(KnownAnswers()) as server:
        wait_for(server.url, patience_s=5.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "closed"), "--suite closed: not simple, open, hidden, all"),
        (("--suite", "tests"), "no readable file"),
        (("--checkpoint", "nowhere"), "no such folder"),
        (("--checkpoint", DEMO_BASE, "--url", "http://127.0.0.1:9"), "give one of them"),
        (("--instances", "0"), "--instances"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["helm", *arguments, "--dry-run"])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_folder_of_someone_elses_results_is_not_thrown_away(tmp_path: Path) -> None:
    theirs = tmp_path / "benchmark_output" / "runs" / "simple" / "mine"
    theirs.mkdir(parents=True)
    run = HelmRun(helm=Helm(tmp_path), url="", model="x", out=tmp_path, suite=read_suite("simple"), num_instances=1)
    with pytest.raises(HelmError, match="not made by oneday helm"):
        run_helm(run)
    assert theirs.is_dir()


def test_without_a_demo_run_its_base_model_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert served(HelmRequest()).name == "demo_base"
    (tmp_path / "runs/demo/08_pick").mkdir(parents=True)
    (tmp_path / "runs/demo/08_pick/picked.json").write_text("{}")
    assert served(HelmRequest()) == Path("runs/demo")


# The real HELM.


@pytest.fixture(scope="module")
def helm() -> Helm:
    """HELM in `.helm`. Installing takes 1 GB and a minute or more, so a plain test run only uses what is there."""
    folder = ROOT / ".helm"
    if not is_installed(folder) and os.environ.get("ONEDAY_HELM") != "1":
        pytest.skip("HELM is not installed: `make helm` does it, 1 GB in .helm; or set ONEDAY_HELM=1")
    try:
        return install(folder)
    except HelmError as e:
        pytest.skip(str(e))


def gsm8k(tmp_path: Path) -> Path:
    real = SHARED / "gsm8k"
    return real if real.is_dir() else made_up_gsm8k(tmp_path / "gsm8k")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_helm_scores_ours_the_one_that_knows_and_the_one_that_never_stops(helm: Helm, tmp_path: Path) -> None:
    data = gsm8k(tmp_path)
    command = [
        sys.executable,
        "-m",
        "oneday.cli",
        "helm",
        "--checkpoint",
        DEMO_BASE,
        "--gsm8k",
        str(data),
    ]
    command += ["--instances", "5", "--out", str(tmp_path / "ours"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    ours = json.loads(done.stdout.splitlines()[-1])
    assert (ours["num_retries"], ours["failed"]) == (0, {})
    assert {run["group"]: run["num_instances"] for run in ours["runs"]} == dict.fromkeys(GROUPS, 5)
    assert sum(run["num_overruns"] for run in ours["runs"]) == 0
    gsm = next(run for run in ours["runs"] if run["group"] == "gsm")
    assert ours["columns"] == {"GSM8K - EM": gsm["score"]}  # helm-summarize's figure is the run's own

    suite = replace(read_suite("simple"), entries=("gsm",))
    run = HelmRun(helm=helm, url="", model="x", out=tmp_path / "knows", suite=suite, num_instances=5)
    place_gsm8k(data, run.scenarios)
    answers = KnownAnswers.of(*sorted((run.scenarios / "gsm").glob("gsm_data_t*")))
    with scripted(answers) as server:
        log = run_helm(replace(run, url=server.url))
        assert len(server.asked) == 20
    assert (log.num_retries, log.failed) == (0, {})
    assert {r.group: (r.score, r.num_overruns) for r in read_runs(run.results)} == dict.fromkeys(GROUPS, (1.0, 0))
    assert measured_columns(run.results) == {"GSM8K - EM": 1.0}

    run = replace(run, out=tmp_path / "never")
    place_gsm8k(data, run.scenarios)
    with scripted(answers, stops=False, num_failing=1) as server:  # one request is lost: 10 s until HELM sends it again
        log = run_helm(replace(run, url=server.url))
    assert log.num_retries == 1
    assert {r.group: (r.score, r.num_overruns) for r in read_runs(run.results)} == dict.fromkeys(GROUPS, (0.0, 5))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_our_server_answers_mmlus_ways_of_asking(helm: Helm, tmp_path: Path) -> None:
    """One new token with five alternatives, and echoed prompts with no new token at all."""
    for split, number in (("dev", 5), ("val", 2), ("test", 4)):
        folder = tmp_path / "data" / "mmlu" / "data" / split
        folder.mkdir(parents=True)
        rows = (f"What is {n} + {n} in {split}?,{2 * n},{2 * n + 1},7,9,A\n" for n in range(10, 10 + number))
        (folder / f"anatomy_{split}.csv").write_text("".join(rows))
    ways = ("data_augmentation=robustness", "method=multiple_choice_separate_original")
    entries = (f'{{description: "mmlu:subject=anatomy,{way}", priority: 1}}' for way in ways)
    (tmp_path / "mmlu.conf").write_text("entries: [" + "\n".join(entries) + "]")
    command = [sys.executable, "-m", "oneday.cli", "helm", "--suite", str(tmp_path / "mmlu.conf"), "--json"]
    command += [
        "--scenarios",
        str(tmp_path / "data"),
        "--checkpoint",
        DEMO_BASE,
        "--out",
        str(tmp_path / "o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["num_retries"], result["failed"]) == (0, {})
    assert [run["num_overruns"] for run in result["runs"]] == [0, 0]
    assert set(result["columns"]) == {"MMLU - EM", "MMLU - EM (Robustness)", "MMLU - EM (Fairness)"}


GROUPS = ("gsm", "simple_classification", "simple_mcqa", "simple_short_answer_qa")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_helm_reads_the_hidden_scenarios_from_files(helm: Helm, tmp_path: Path) -> None:
    data = write_hidden(tmp_path / "data")
    entries = sorted(set(section("hidden")) - {"local_math"})
    descriptions = [*entries, "local_math:subject=algebra,level=1"]
    conf = tmp_path / "hidden.conf"
    conf.write_text("entries: [" + "\n".join(f'{{description: "{d}", priority: 1}}' for d in descriptions) + "]")
    suite = read_suite(str(conf))
    run = HelmRun(helm=helm, url="", model="x", out=tmp_path / "out", suite=suite, num_instances=100)
    place_scenarios(data, run.scenarios)

    def answer(prompt: str) -> str:
        if "Problem:" in prompt:
            return r" It is $\boxed{2}$."
        return " Anna greets Ben." if "Summarize" in prompt else " A"

    with scripted(answer) as server:
        log = run_helm(replace(run, url=server.url))
        prompts = [asked["prompt"] for asked in server.asked]
    assert (log.num_retries, log.failed) == (0, {})
    scores = {r.group: r.score for r in read_runs(run.results)}
    assert scores.pop("sam_sum") == 1.0
    assert scores.pop("math_chain_of_thought") == 1.0
    assert set(scores) == set(entries) - {"sam_sum"}
    # Labels alternate, so A is right for about half, wherever the right answer stands in the file.
    assert all(0 < (score or 0) < 1 for score in scores.values()), scores
    assert any("Trait: kind" in prompt and prompt.endswith("A. No\nB. Yes\nAnswer:") for prompt in prompts)


def write_hidden(folder: Path) -> Path:
    """A few rows of each hidden scenario, in the files' own layouts."""
    labels = [n % 2 for n in range(40)]
    tables = {
        "corr2cause/data/corr2cause.csv": ["label,input", *(f"{y},Premise {n}." for n, y in enumerate(labels))],
        "ethics_justice/data/justice_hard.csv": ["label,scenario", *(f"{y},I did {n}." for n, y in enumerate(labels))],
        "ethics_commonsense/data/commonsense_hard.csv": [
            "label,input,is_short,edited",
            *(f"{y},I did {n}.,True,False" for n, y in enumerate(labels)),
        ],
        "ethics_virtue/data/virtue.csv": [
            "label,scenario",
            *(f"{y},He gave {n}. [SEP] kind" for n, y in enumerate(labels)),
        ],
        "ethics_deontology/data/deontology.csv": [
            "label,scenario,excuse",
            *(f"{y},Do {n}.,No I am tired." for n, y in enumerate(labels)),
        ],
        "ethics_utilitarianism/data/util.csv": [f"I won {n}.,I lost {n}." for n, _ in enumerate(labels)],
        "sam_sum/data/samsum.tsv": ["id\tdialogue\tsummary", "1\tAnna: hi Ben: hi\tAnna greets Ben."],
    }
    for name, lines in tables.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("\n".join(lines) + "\n")
    (folder / "MATH/data").mkdir(parents=True)
    for split in ("train", "test"):
        row = {"problem": f"What is 1 + 1, {split}?", "level": "Level 1", "type": "Algebra"}
        solution = r"It is $\boxed{2}$."
        (folder / f"MATH/data/{split}.jsonl").write_text(json.dumps(row | {"solution": solution}) + "\n")
    return folder
