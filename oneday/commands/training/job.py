"""Turns a request into a training job: it finds the card, the recipe, the base model and the run folder.

    setting = Setting.of(request)
    job = training_job(setting, budget_s=86_400.0)

Where it sits: below `rehearse`, `plan` and `train`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from core.encoding.long_example import LongExamples
from core.encoding.rendering import Loss
from core.files import read_json
from core.manifest import read_origins
from core.model.folder import check_model_folder
from core.run_folder import MIX, PARENT
from core.stage import locked
from harness.base_model import find_model
from harness.budget.gpu_profile import GpuProfile
from harness.budget.profile_choice import NAMED_BY_USER, ProfileChoice, choose_profile
from harness.data.dataset import check_mix
from harness.data.template import Template
from harness.errors import ConfigError, DataError
from harness.job import TrainJob
from harness.keys.acceptance import Acceptance
from harness.keys.sources import recipe_data, rendering_notes, validation_share
from harness.keys.yaml_file import read_mapping
from harness.ledger.day import Charging
from harness.parent import Parent
from harness.recipe import AxolotlConfig, check_card, find_recipe, read_recipe, recipe_for, with_attention, with_rate
from oneday.commands.training.own_mix import data_files, data_mix, run_of
from oneday.display.console import Console
from oneday.requests.training import TrainingRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A request and the card on which it will run."""

    request: TrainingRequest
    choice: ProfileChoice

    @classmethod
    def of(cls, request: TrainingRequest) -> "Setting":
        """Takes the card that the user named, else the one in this machine.

        Raises:
            ConfigError: No profile has that name.
        """
        return cls(request=request, choice=choose_profile(request.card))

    @property
    def card(self) -> GpuProfile:
        """The card's profile."""
        return self.choice.card

    @property
    def recipe_path(self) -> Path:
        """The recipe that the user gave, else the one recommended for the card."""
        return find_recipe(self.request.config or recipe_for(self.card))

    def recipe(self) -> AxolotlConfig:
        """Reads the recipe and checks it against the card.

        Raises:
            ConfigError: The recipe is unreadable, or the card cannot run it.
        """
        recipe = read_recipe(self.recipe_path)
        check_card(recipe, self.card)
        return recipe

    def acceptance(self) -> Acceptance:
        """What the recipe's keys become, and whether it can be trained.

        Raises:
            ConfigError: The file cannot be read.
        """
        return Acceptance.of(read_mapping(self.recipe_path))

    def say_card(self, console: Console) -> None:
        """Tells the user which card was found, unless they named one. Called once all options are checked."""
        if self.choice.reason != NAMED_BY_USER:
            console.say(self.choice.sentence)


def training_job(
    setting: Setting,
    *,
    budget_s: float,
    redo: bool = False,
    shared_card: bool = False,
    fetches: bool = False,
    console: Console | None = None,
) -> TrainJob:
    """Builds the job that the options describe; with `data`, the mix too.

    Args:
        fetches: Download a base that is not on this machine from the hub.

    Raises:
        OnedayError: The mix is missing or empty, or there is no base model.
    """
    recipe = setting.recipe()
    request = _with_rows(setting.request, recipe, console)
    run = run_of_request(request)
    if not redo:
        _check_same_card(setting.choice, run)
    parent = _parent(request)
    if parent:
        base = _base_of_parent(parent, run, console)
    else:
        base = find_base(request.base, request.mix, recipe, fetch=console.say if console and fetches else None)
    if request.data:
        mix = data_mix(
            request, run, base=base, seed=recipe.seed, pairs=recipe.is_paired, redo=redo, console=console
        ).directory
    else:
        mix = request.mix or run / MIX
        check_mix(mix)
    if recipe.learning_rate_auto:
        recipe, _ = with_rate(recipe, read_json(base / "config.json"))
    return TrainJob(
        run=run,
        mix=mix,
        base=base,
        parent=parent,
        long_examples=LongExamples(request.long_examples),
        recipe=with_attention(recipe, setting.card, base),
        card=setting.card,
        card_how=setting.choice.reason,
        device=setting.choice.device,
        budget_s=budget_s,
        shared_card=shared_card,
        redo=redo,
    )


def _parent(request: TrainingRequest) -> Parent | None:
    """The run to start from.

    Raises:
        ConfigError: A base is named besides it, or it is the run itself.
        OnedayError: Nothing is picked in it, or its files are not here.
    """
    if request.init_from is None:
        return None
    if request.base is not None:
        raise ConfigError("`base=` and `init_from=`: the parent's picked weights are the base. Leave one of them out.")
    if request.init_from.resolve() == run_of_request(request).resolve():
        raise ConfigError(f"`init_from={request.init_from}`: is the run itself. Give `run=` another folder.")
    return Parent.of(request.init_from)


def _base_of_parent(parent: Parent, run: Path, console: Console | None) -> Path:
    def shown(done: int, total: int) -> None:
        if console:
            console.progress("weights merged", done, total)

    with locked(run / PARENT):
        base = parent.write_base(run, on_progress=shown)
    if console:
        how = "merged into its base" if parent.is_merged else "of which all weights were trained"
        console.say(f"starts from {parent.checkpoint} of {parent.run}, {how}: {base}")
    return base


def _with_rows(request: TrainingRequest, recipe: AxolotlConfig, console: Console | None) -> TrainingRequest:
    """The request; where it names neither a mix nor data, with those that the recipe names.

    Raises:
        DataError: None of them names rows.
        ConfigError: The recipe asks for labels that a mix does not have, or its rows cannot be read.
    """
    if request.mix is not None:
        if recipe.train_on_inputs:
            raise ConfigError("train_on_inputs: true with `mix=`: a mix says itself what is trained. Remove the key.")
        _tell(rendering_notes(recipe), console)
        return request
    loss = Loss.ALL.value if recipe.train_on_inputs else request.loss
    if request.data:
        _tell(rendering_notes(recipe), console)
        return replace(request, loss=loss, validation_share=request.validation_share or validation_share(recipe))
    if not (recipe.data.get("datasets") or recipe.data.get("pretraining_dataset")):
        raise DataError(
            "`mix=` is missing. Give the folder that `oneday curate` wrote, for example runs/200k/05_mix, or files of "
            "your own with `data=`. A recipe may name datasets too."
        )
    found = recipe_data(recipe)
    _tell(found.notes, console)
    return replace(
        request,
        data=found.files,
        loss=loss,
        template=found.template.value if request.template == Template.AUTO else request.template,
        layout=request.layout or (found.layout.value if found.layout else None),
        validation_share=request.validation_share or found.validation_share,
    )


def _tell(notes: Iterable[str], console: Console | None) -> None:
    if console:
        for note in notes:
            console.say(f"recipe: {note}")


def _check_same_card(choice: ProfileChoice, run: Path) -> None:
    """A run continues on its card. If another one is found, the driver of the first is probably gone.

    Raises:
        ConfigError: Another card was found; the message says how to continue.
    """
    first_card = read_origins(run).train.card
    if choice.reason != NAMED_BY_USER and first_card not in (None, choice.card.name):
        raise ConfigError(
            f"{run}: was started on {first_card}, but this machine has {choice.card.name} ({choice.reason}). Give "
            f"`card={first_card}`, or start again with `redo=true`."
        )


def run_of_request(request: TrainingRequest) -> Path:
    """The run folder that a request names, or that its mix or its data imply."""
    if request.data:
        return request.run or run_of(data_files(request))
    return run_folder(request.run, request.mix or Path(MIX))


def run_folder(given: Path | None, mix: Path) -> Path:
    """The folder that the user gave, else the one that holds the mix."""
    return given or (mix.parent if mix.name not in ("", "..") else mix.resolve().parent)


def charging_of(name: str) -> Charging:
    """A clock by its name.

    Raises:
        ConfigError: The name is neither strict nor compute.
    """
    if name not in list(Charging):
        raise ConfigError(f"`clock={name[:40]}`: unknown. Use strict or compute.")
    return Charging(name)


def find_base(
    given: Path | None, mix: Path | None, recipe: AxolotlConfig, *, fetch: Callable[[str], None] | None = None
) -> Path:
    """The base of the request, else the one of the curation, else the recipe's: a folder or a hub name.

    Args:
        fetch: Called with a message before a base that the user named is downloaded; None: nothing is downloaded.

    Raises:
        OnedayError: There is none, or it is not on this machine.
    """
    if given is not None:
        return find_model(str(given), fetch=fetch)
    curated = read_origins(mix.resolve().parent).curate.base_path if mix else None
    if curated:
        return check_model_folder(Path(curated))
    if recipe.base_model:
        return find_model(recipe.base_model, fetch=fetch)
    raise ConfigError("no base model: neither the mix's run nor the recipe names one. Pass `base=FOLDER`.")
