"""`oneday train --dry-run`: what a training would do, from the options and the recipe's keys alone.

No model, data, network or GPU is needed, and torch is not imported.

Where it sits: the request of `train` -> **dry run** -> tables and a JSON line.
"""

from harness.budget.curve import WARMUP_SHARE, WARMUP_STEPS
from harness.budget.duration import pretty, seconds
from harness.budget.gpu_profile import GpuProfile
from harness.budget.profile_choice import NAMED_BY_USER
from harness.checkpoint.averaging import Averaging
from harness.data.dataset import read_mix
from harness.errors import ConfigError
from harness.keys.acceptance import Acceptance
from harness.keys.table import sources
from harness.recipe import EVALS_PER_EPOCH, AxolotlConfig, check_card, has_flash_attn, recipe_for, with_attention
from oneday.commands.training.job import Setting, run_of_request
from oneday.commands.training.own_mix import data_files
from oneday.display.console import Console
from oneday.requests.training import TrainRequest


def run_dry_run(request: TrainRequest, setting: Setting, console: Console) -> None:
    """Shows what the recipe's keys become, and what would be trained.

    Raises:
        ConfigError: The recipe cannot be trained, or not on the card that the user named.
    """
    found, budget_s = setting.acceptance(), seconds(request.budget)
    if found.recipe is not None and setting.choice.reason == NAMED_BY_USER:
        check_card(found.recipe, setting.card)
    setting.say_card(console)
    if found.recipe is not None:
        lines = _lines(request, setting, found, found.recipe, budget_s)
        console.table("oneday train --dry-run: nothing is started", ("what", "value"), lines)
    show_keys(found, console)
    console.result(_result(setting, found, budget_s))
    if not found.accepted:
        raise ConfigError(f"{setting.recipe_path}: {found.problem}")


def show_keys(found: Acceptance, console: Console) -> None:
    """The keys that the day decides and those that Axolotl does not know; nothing if there are none."""
    rows = [(key, "overruled", why) for key, why in found.overruled.items()]
    rows += [(key, "unknown", f"nearest: {near}" if near else "-") for key, near in found.unknown.items()]
    if rows:
        console.table(f"keys of the recipe: {len(found.kept)} are kept, these are not", ("key", "is", "why"), rows)


def _result(setting: Setting, found: Acceptance, budget_s: float) -> dict[str, object]:
    return {
        "dry_run": True,
        "budget_s": budget_s,
        "recipe": found.recipe.model_dump() if found.recipe else None,
        "card": setting.card.name,
        "card_how": setting.choice.reason,
        "accepted": found.accepted,
        "problem": found.problem,
        "objective": found.objective,
        "weights": found.weights,
        "needs": list(found.needs),
        "overruled": dict(found.overruled),
        "unknown": list(found.unknown),
        "nearest": {key: near for key, near in found.unknown.items() if near},
    }


def _lines(
    request: TrainRequest, setting: Setting, found: Acceptance, recipe: AxolotlConfig, budget_s: float
) -> list[tuple[str, str]]:
    card = setting.card
    rows_per_step = recipe.micro_batch_size * recipe.gradient_accumulation_steps
    tokens = rows_per_step * recipe.sequence_len
    files = data_files(request) if request.data else []
    batch = f"{rows_per_step} {'packed rows of' if recipe.sample_packing else 'rows of at most'} {recipe.sequence_len}"
    return [
        ("recipe", str(request.config or recipe_for(card))),
        ("objective", f"{found.objective}"),
        ("weights", _weights(recipe)),
        ("needs", ", ".join(found.needs) or "nothing that is not in every installation"),
        ("card", f"{card.name}, {card.memory_gib:g} GiB; {setting.choice.reason}"),
        ("base model", _base(request, recipe)),
        ("data", ", ".join(request.data)) if files else ("mix", _mix(request, recipe)),
        ("run folder", str(run_of_request(request)) if files or request.mix else str(request.run or "the mix's run")),
        ("budget", f"{pretty(budget_s)} from the start of training to the published pick"),
        ("batch", f"{batch} = {tokens:,} tokens a step"),
        ("optimizer", f"{recipe.optimizer}, weight decay {recipe.weight_decay}"),
        ("learning rate", f"{_rate(recipe)}, {recipe.lr_scheduler}, warm-up {_warmup(recipe)}"),
        ("NEFTune alpha", f"{recipe.neftune_noise_alpha}"),
        ("length", f"{_length(recipe)}; the budget may end it earlier"),
        ("checkpoints", f"{_rhythm(recipe)} with an evaluation; {recipe.save_total_limit} kept"),
        ("attention", _attention(recipe, card)),
        ("before the clock", "rehearse" if request.rehearsal else "nothing: `rehearsal=false`"),
        ("then", f"train, evaluate, save, pick by validation loss{_averages(request, recipe)}"),
    ]  # fmt: skip


def _averages(request: TrainRequest, recipe: AxolotlConfig) -> str:
    averaging = Averaging.of(request.average, request.average_of, has_moving=recipe.ema_decay is not None)
    return f", try averages ({averaging.described})" if averaging.num_trials else ""


def _base(request: TrainRequest, recipe: AxolotlConfig) -> str:
    if request.init_from:
        return f"the picked weights of {request.init_from}"
    return str(request.base or recipe.base_model or "the one that curation asked")


def _weights(recipe: AxolotlConfig) -> str:
    if not recipe.weights.is_adapter:
        return "all"
    numbers = f"r {recipe.lora_r}, alpha {recipe.lora_alpha}, dropout {recipe.lora_dropout}"
    return f"{recipe.weights}: {numbers}, {recipe.adapted_layers}"


def _mix(request: TrainRequest, recipe: AxolotlConfig) -> str:
    if request.mix is None:
        named = [str(source.get("path")) for source in sources(recipe.data, "datasets", "pretraining_dataset")]
        missing = "not given: `mix=runs/200k/05_mix`, or `data=mine.jsonl`"
        return f"the recipe's datasets: {', '.join(named)}" if named else missing
    rows = request.mix / "train.jsonl"
    return f"{request.mix}, " + (f"{sum(1 for _ in read_mix(rows))} rows" if rows.is_file() else "not there yet")


def _rate(recipe: AxolotlConfig) -> str:
    return "auto: a formula's, then probed" if recipe.learning_rate_auto else f"{recipe.learning_rate:g}"


def _warmup(recipe: AxolotlConfig) -> str:
    if recipe.warmup_ratio is not None:
        return f"{recipe.warmup_ratio:.0%} of the run"
    if recipe.warmup_steps is None:
        return f"{WARMUP_SHARE:.0%} of the run, at most {WARMUP_STEPS} steps (Axolotl's default)"
    return f"{recipe.warmup_steps} steps"


def _length(recipe: AxolotlConfig) -> str:
    return f"at most {recipe.max_steps:,} steps" if recipe.max_steps else f"at most {recipe.num_epochs:g} epochs"


def _rhythm(recipe: AxolotlConfig) -> str:
    if recipe.eval_steps is None:
        return f"{recipe.evals_per_epoch or EVALS_PER_EPOCH} per epoch"
    share = f"every {recipe.eval_steps:.0%} of the run"
    return f"every {recipe.eval_steps:g} steps" if recipe.eval_steps >= 1 else share


def _attention(recipe: AxolotlConfig, card: GpuProfile) -> str:
    named, used = recipe.attn_implementation, with_attention(recipe, card).attn_implementation
    missing = "" if has_flash_attn() else " (the flash-attn package is not installed here)"
    return f"{used}{' by auto' * (named == 'auto')}{missing if named in ('auto', 'flash_attention_2') else ''}"
