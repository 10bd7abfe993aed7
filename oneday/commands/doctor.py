"""`oneday doctor`: checks whether this machine is ready, and says how to mend what is wrong."""

from collections import Counter
from dataclasses import asdict

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from harness.doctor import builds, doctor, stack
from harness.doctor import gpu as gpu_checks
from harness.doctor.doctor import Finding, Machine, Status, run_check
from harness.errors import ConfigError
from oneday.display.console import Console
from oneday.requests.looking import DoctorRequest

GROUPS = {
    "the machine": doctor.CHECKS,
    "packages and base model": stack.CHECKS,
    "torch, card and kernels": gpu_checks.CHECKS,
    "compatibility of builds": builds.CHECKS,
}

STYLES = {Status.OK: "green", Status.NOTE: "dim", Status.WARNING: "yellow", Status.PROBLEM: "bold red"}


def run_doctor(request: DoctorRequest, console: Console) -> None:
    """Runs all checks and shows their findings.

    Raises:
        ConfigError: There are problems, or no profile has that name.
    """
    machine = Machine.here(card=request.card, run=request.run, base=request.base, asks_hub=request.hub)
    found = examine(machine, console)
    for title, findings in found.items():
        _show(title, findings, console)
    everything = [finding for findings in found.values() for finding in findings]
    counts = Counter(finding.status for finding in everything)
    console.line(
        f"profile {machine.card.name}: {counts[Status.OK]} OK, {counts[Status.NOTE]} notes, "
        f"{counts[Status.WARNING]} warnings, {counts[Status.PROBLEM]} problems"
    )
    console.result(
        {
            "card": machine.card.name,
            "problems": counts[Status.PROBLEM],
            "warnings": counts[Status.WARNING],
            "findings": [asdict(finding) for finding in everything],
        }
    )
    problems = [finding for finding in everything if finding.status is Status.PROBLEM]
    if problems:
        raise ConfigError(_first_of(problems))


def _first_of(problems: list[Finding]) -> str:
    number, first = len(problems), problems[0]
    many = f"{number} problems: first " if number > 1 else "1 problem: "
    return f"{many}{first.name}: {first.what.rstrip('.')}. {first.mend}"


def examine(machine: Machine, console: Console) -> dict[str, list[Finding]]:
    """The findings of all checks that apply, by group."""
    total, done = sum(map(len, GROUPS.values())), 0
    found: dict[str, list[Finding]] = {}
    for title, checks in GROUPS.items():
        found[title] = []
        for name, check in checks.items():
            done += 1
            console.progress("doctor", done, total, name)
            finding = run_check(name, check, machine)
            if finding:
                found[title].append(finding)
    return found


def _show(title: str, findings: list[Finding], console: Console) -> None:
    """Shows one line for each finding, with the mend below it."""
    table = Table(box=SIMPLE, show_edge=False, show_header=False)
    table.add_column(no_wrap=True, min_width=max(map(len, STYLES)))
    table.add_column(no_wrap=True, min_width=max(len(name) for checks in GROUPS.values() for name in checks))
    table.add_column(overflow="fold")
    for finding in findings:
        mend = f"\nmend: {finding.mend}" if finding.mend else ""
        table.add_row(
            Text(finding.status, style=STYLES[finding.status]), finding.name, Text(console.spelled(finding.what + mend))
        )
    console.out.print(title, style="bold", markup=False)
    console.out.print(table)
