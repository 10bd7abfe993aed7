"""Commands about a curation that do not run one: score, losses, verify, diff, stability, the estimate of a dry run."""

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import PredictionError, StageError
from core.files import as_json, read_as
from core.generation.engine import close
from core.generation.prediction import read_predictions
from core.generation.request import Predictor
from core.model.token_counter import TokenCounter
from core.run_folder import MIX, SAMPLES
from core.score import rouge_l_scorer, score
from core.stage import read_details
from curation.departures import DEPARTURES
from curation.estimate import Estimate, estimate
from curation.ni.bucket import bucket_tasks
from curation.preset import CurationParameters, Difference, differences, preset, reseeded, with_settings
from curation.stages.context import Curation
from curation.stages.samples import SamplesDetails
from curation.verify import verify
from curation.what_if import Alternatives, Change, stored_changes, variants
from harness.budget.duration import pretty
from oneday.commands.asking_speed import Server, computed_rate, faster_server
from oneday.commands.curate import (
    curation_parameters,
    described,
    options_of_choices,
    run_curate,
    run_folder,
)
from oneday.commands.engine import engine_of
from oneday.display.console import Console
from oneday.display.curation_tables import show_kinds
from oneday.requests.curation import (
    CurateRequest,
    DiffRequest,
    ProbeLossesRequest,
    ScorePredictionsRequest,
    StabilityRequest,
    VerifyRequest,
)


def run_score(request: ScorePredictionsRequest, console: Console) -> None:
    """Scores a file of predictions and shows its buckets."""
    path = request.predictions
    p = with_settings(preset("recommended"), options_of_choices(request))
    parameters = p.scores
    rouge_l = rouge_l_scorer(parameters)
    scores = sorted((score(q, parameters, rouge_l) for q in read_predictions(path)), key=lambda s: (s.task, s.kind))
    buckets = bucket_tasks(scores, p.buckets)
    if not buckets:
        raise PredictionError(f"{path}: no prediction in it. Each line holds task, id, references, prediction.")
    columns = ("task", "n", "mean", "[0,.2)", "[.2,.3)", "[.3,.4)", "[.4,.5)", "[.5,.6)", "[.6,.7)", "[.7,.8)", ">=.8")
    rows = [(b.task, str(b.num_scores), f"{b.mean_score:.3f}", *map(str, b.histogram)) for b in buckets]
    console.table(f"{parameters.rouge}, empty prediction: {parameters.empty}", columns, rows)
    totals: dict[str, list[int]] = {}
    for b in buckets:  # a task may occur with both kinds
        before = totals.get(b.task, [0] * len(b.histogram))
        totals[b.task] = [x + y for x, y in zip(before, b.histogram, strict=True)]
    console.result({"buckets": totals})


def run_verify(request: VerifyRequest, console: Console) -> None:
    """Recomputes every hash of a run.

    Raises:
        StageError: A hash differs.
    """
    run = request.run
    results = list(verify(run))
    bad = [r for r in results if not r.is_fine]
    for r in bad:
        console.out.print(f"{r.what}: {r.detail}", markup=False, soft_wrap=True)
    console.say(f"{len(results)} checks, {len(bad)} failed")
    console.result({"checks": len(results), "failed": [r.what for r in bad]})
    if bad:
        raise StageError(
            f"{run}: {len(bad)} of {len(results)} checks failed, listed above. Restore the files, or give `redo=true`."
        )


def run_losses(request: ProbeLossesRequest, console: Console) -> None:
    """Measures rows before and after a probe training, and writes the file."""
    from studies.probe import Probe, write_probe_losses
    from submission.checkpoint import find_served

    served = find_served(request.probe, base=request.base)
    if served.lora_adapter is None and request.base is None:
        raise PredictionError(
            f"{request.probe}: all its weights were trained. Give the base that it started from with `base=`."
        )
    probe = Probe(
        base=served.base if served.lora_adapter else request.base or served.base,
        checkpoint=served.lora_adapter or served.base,
        precision=served.precision,
    )
    num = write_probe_losses(request.run, probe, request.out, on_progress=console.progress)
    console.say(f"{num:,} rows measured before and after the probe: {request.out}")
    console.result({"rows": num, "out": str(request.out)})


def run_diff(request: DiffRequest, console: Console) -> None:
    """Shows the choices in which two presets differ; on a finished run, also the rows that each choice changes."""
    other, run = request.other, run_folder(request)
    mine, theirs = curation_parameters(request), reseeded(preset(other), request.seed)
    common = ("mix", "scale", "without", "instances_per_task", "task_list", "kinds", "adaptive", "fit", "signals")
    own = {name: getattr(mine.samples, name) for name in ("take_all", "own_share", "add")}
    theirs = replace(
        theirs, samples=replace(theirs.samples, **own), **{name: getattr(mine, name) for name in common}
    )  # fmt: skip
    found = differences(mine, theirs)
    is_finished = (run / MIX / "done.json").is_file()
    changes: dict[str, Change] = {}
    if is_finished:
        curation = described(request, console)
        _refuse_other_parameters(run, curation)
        alternatives = Alternatives(curation)
        for change in alternatives.changes(replace(theirs, adaptive=alternatives.parameters.adaptive)):
            console.progress("what if", len(changes) + 1, len(found))
            changes[change.what] = change
    _show_differences(found, changes, request.preset, other, console)
    for name in dict.fromkeys((request.preset, other)):
        if DEPARTURES[name]:
            rows = [(what, text) for what, _, text in (departure.partition(": ") for departure in DEPARTURES[name])]
            console.table(f"where {name} departs from its source", ("what", "how"), rows)
    if not is_finished:
        console.say(f"changed rows can be counted once {run} is finished with `preset={request.preset}`")
    console.result(
        {
            "differences": [asdict(d) for d in found],
            "rows_changed": {key: change.num_rows for key, change in changes.items()},
            "departures": {name: DEPARTURES[name] for name in (request.preset, other)},
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _MixManifest:
    """The parameters in a mix's manifest."""

    parameters: Mapping[str, object]


def _refuse_other_parameters(run: Path, curation: Curation) -> None:
    stored = read_as(_MixManifest, run / MIX / "manifest.json").parameters
    mine = as_asked(curation.parameters, stored.get("adaptive")).fingerprint()
    differ = [key for key in mine if as_json(mine[key]) != stored.get(key)]
    if differ:
        raise StageError(
            f"{run}: was made with other {', '.join(differ)}. Give the run's own options, or another `run=`."
        )


def as_asked(parameters: CurationParameters, stored: object) -> CurationParameters:
    """The parameters with the number of rounds that the run asked, which no option needs to repeat.

    Args:
        stored: The manifest's `adaptive`.
    """
    adaptive = parameters.adaptive
    if adaptive is None or adaptive.rounds is not None or not isinstance(stored, Mapping):
        return parameters
    return replace(parameters, adaptive=replace(adaptive, rounds=stored["rounds"]))


def _show_differences(
    found: Sequence[Difference], changes: Mapping[str, Change], a: str, b: str, console: Console
) -> None:
    rows = []
    for d in found:
        change = changes.get(d.key)
        effect = "" if change is None else (change.note if change.num_rows is None else f"{change.num_rows:,}")
        rows.append((d.key, _short(d.a), _short(d.b), effect, d.why))
    console.table(f"{len(found)} choices differ", ("choice", a, b, "rows changed", "why recommended differs"), rows)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def run_stability(request: StabilityRequest, console: Console) -> None:
    """Shows which tasks change their bucket, and how many rows of the mix change, under another score or seed."""
    run = run_folder(request)
    if (run / MIX / "done.json").is_file() and (request.tasks or not request.predictions):
        curation = described(request, console)
        _refuse_other_parameters(run, curation)
        alternatives = Alternatives(curation)
        total = sum(read_details(SamplesDetails, run / SAMPLES).drawn.values())
        changes = [alternatives.change(what, p) for what, p in variants(alternatives.parameters)]
    elif request.predictions:
        p, total = curation_parameters(request), 0
        changes = [c for path in request.predictions for c in stored_changes(path, p.scores, p.buckets)]
    else:
        raise StageError(f"{run}: is not finished. Give a finished `run=`, or stored `predictions=FILE`.")
    rows = [
        (
            c.what,
            str(len(c.moved_tasks)),
            f"{c.moved_share:.1%}",
            "-" if c.num_rows is None or not total else f"{c.num_rows:,} ({c.num_rows / total:.1%})",
            c.note or ", ".join(c.moved_tasks[:3]) + (" …" if len(c.moved_tasks) > 3 else ""),
        )
        for c in changes
    ]
    columns = ("instead of this run's choice", "tasks moved", "answers moved", "rows differ", "which")
    console.table("stability: exact-match tasks and generated answers in another bucket", columns, rows)
    console.result({"rows": total, "changes": [asdict(c) for c in changes]})


def run_curate_command(request: CurateRequest, console: Console) -> None:
    """Curates, or with `--dry-run` estimates the cost."""
    if request.dry_run:
        run_dry(request, console)
    else:
        run_curate(request, console)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Speed and prices of an engine, each None if it is unknown."""

    prompts_per_s: float | None
    per_million_tokens: str | None
    per_hour: float | None

    def __post_init__(self) -> None:
        for field, value in (("prompts_per_s", self.prompts_per_s), ("price_per_hour", self.per_hour)):
            if value is not None and not math.isfinite(value):
                raise PredictionError(f"`{field}={value}`: not a finite number. Give one, for example 12.5.")
        if not self._token_prices() and self.per_million_tokens is not None:
            raise PredictionError(
                f"`price_per_million_tokens={self.per_million_tokens}`: give IN or IN,OUT, for example 0.1,0.3."
            )

    def _token_prices(self) -> list[float]:
        """One price, or two for input and output; empty if none is given or the text is invalid."""
        try:
            given = [float(x) for x in (self.per_million_tokens or "").split(",")]
        except ValueError:
            return []
        return given if len(given) <= 2 and all(0 <= x < math.inf for x in given) else []

    def cost(self, estimated: Estimate, hours: float | None) -> float | None:
        """The cost of the predictions; None if it is unknown."""
        if prices := self._token_prices():
            return (estimated.prompt_tokens * prices[0] + estimated.most_new_tokens * prices[-1]) / 1e6
        return hours * self.per_hour if self.per_hour is not None and hours is not None else None


def run_dry(request: CurateRequest, console: Console) -> None:
    """Shows prompts, tokens, time and cost. Nothing is written."""
    prices = Prices(
        prompts_per_s=request.prompts_per_s,
        per_million_tokens=request.price_per_million_tokens,
        per_hour=request.price_per_hour,
    )
    with tempfile.TemporaryDirectory(prefix="oneday-") as scratch:
        curation = described(request, console, scratch=Path(scratch), has_engine=request.card is None)
        _show_estimate(request, curation, prices, console)


def _show_estimate(request: CurateRequest, curation: Curation, prices: Prices, console: Console) -> None:
    assert curation.tokenizer is None or curation.tokenizer.is_file()
    counter = TokenCounter.load(curation.tokenizer) if curation.tokenizer else TokenCounter.mistral_7b()
    found = estimate(curation, counter)
    rate, origin = prices.prompts_per_s, "as given"
    server: Server | None = None
    if rate is None and request.card is not None:
        rate, origin = computed_rate(request, found)
        server = faster_server(request, found, rate)
    elif rate is None and request.predictor == "transformers" and found.sample:
        console.say(f"timing {len(found.sample)} prompts with {request.base}")
        rate, origin = _timed(engine_of(request).build(), found), f"measured on {len(found.sample)} prompts of this job"
    hours = found.num_prompts / rate / 3600 if rate else None
    rows = [
        ("tasks", f"{len(found.tasks):,}", ""),
        ("prompts", f"{found.num_prompts:,}", "exact"),
        ("prompt tokens", f"{found.prompt_tokens:,}", f"estimated with {counter.path.name}"),
        ("of these read, with the shots of a task read once", f"{found.read_tokens:,}", "once per 128 prompts"),
        ("new tokens", f"{found.most_new_tokens:,}", "at most"),
    ]
    if rate and hours is not None:
        rows.append(("prompts per second", f"{rate:,.1f}", origin))
        rows.append(("time", pretty(hours * 3600), ""))
    elif not found.num_prompts:
        rows.append(("time", "none", "no predictions: every row of your own is kept"))
    else:
        rows.append(("time", "unknown", "give `prompts_per_s=`; a trial with `instances_per_task=5` measures it"))
    cost = prices.cost(found, hours)
    show_kinds(found.kinds, curation.parameters.typing, console)
    rows.append(
        ("cost", "unknown" if cost is None else f"{cost:,.2f}", "`price_per_hour=` or `price_per_million_tokens=`")
    )
    if curation.within_s is not None:
        most = f"at most {min(found.num_prompts, int(rate * curation.within_s)):,} prompts" if rate else "fewer prompts"
        rows.append(
            ("within `within=`", pretty(curation.within_s), f"{most}; asking stops earlier if nothing is missing")
        )
    elif curation.parameters.adaptive:
        rows.append(("with `adaptive=true`", "less", "the amount depends on the answers"))
    console.table("before anything is asked", ("what", "amount", ""), rows)
    _show_server(server, found, console)
    _show_surplus(curation, found, console)
    console.result(
        {
            "kinds": {task: typed.kind for task, typed in found.kinds.items()},
            "prompts": found.num_prompts,
            "prompt_tokens": found.prompt_tokens,
            "read_tokens": found.read_tokens,
            "most_new_tokens": found.most_new_tokens,
            "prompts_per_s": rate,
            "hours": hours,
            "cost": cost,
            "server": asdict(server) if server else None,
        }
    )


def _show_server(server: Server | None, found: Estimate, console: Console) -> None:
    """How the same card would answer sooner."""
    if server is None:
        return
    hours = pretty(found.num_prompts / server.prompts_per_s)
    console.say(
        f"a server on this card: {server.prompts_per_s:,.1f} prompts/s, {hours} (computed). Start one of these, and "
        "give curate the last line's options:"
    )
    for command in server.commands:
        console.say(f"  {command}")


MAX_PROMPTS_PER_ROW = 10
"""NI prompts per NI row of the mix, above which a note suggests fewer instances."""


def _show_surplus(curation: Curation, found: Estimate, console: Console) -> None:
    """Suggests fewer instances if `own_share` limits the NI rows to a small part of the prompts."""
    share = curation.parameters.samples.own_share
    if share is None:
        return
    own = found.num_own_rows
    wanted = round(own * (1 - share) / share)
    ni = [task for task in found.tasks if not task.is_own]
    num_prompts = sum(task.num_prompts for task in ni)
    if ni and num_prompts > MAX_PROMPTS_PER_ROW * wanted:
        enough = max(1, math.ceil(MAX_PROMPTS_PER_ROW * wanted / 2 / len(ni)))
        console.say(
            f"note: {num_prompts:,} NI prompts for at most {wanted:,} NI rows beside {own:,} of your own; "
            f"`instances_per_task={enough}` reduces them to about {enough * len(ni):,}"
        )


def _timed(predictor: Predictor, found: Estimate) -> float:
    """Prompts per second, after a warm-up."""
    fitting = [r for r in found.sample if predictor.fits(r.prompt, r.max_new_tokens)]
    if not fitting:
        raise PredictionError(
            "no sampled prompt fits into the model's context. Pass `prompts.max_shots=0`, or another base."
        )
    predictor.complete(fitting[:4])
    start = time.monotonic()
    predictor.complete(fitting)
    elapsed = time.monotonic() - start
    close(predictor)
    return len(fitting) / elapsed
