"""A study: a base, stages, arms that differ from an anchor by named changes, a sweep, a selection rule, one budget.

    study = read_study(find_study("finnish"), preset="published", changes={"budget": "12h"})
    study.arms["dpo-en"].changes          # {"dpo.data.sources": ["pairs-en"]}

Where it sits: document -> **study** -> arms -> graph -> budget -> run.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.model.quantisation import Precision
from harness.data.template import Template
from harness.ledger.day import Charging
from studies.data import Curated, Source
from studies.document import Strict, nearest, read_document, validated, with_changes
from studies.errors import StudyError
from studies.selection import EVAL_LOSS, Selection
from studies.stage import BASE, Stage

PRESETS, QUESTIONS, QUESTIONS_OF = "presets", "questions", "questions-of:"
HELD_OUT = "held-out"
"""The suite of `oneday evaluate` that asks held-out questions."""


class ModelSize(Strict):
    """What a base model costs, so that a study can be planned where the model is not at hand."""

    parameters: float | None = Field(default=None, gt=0)
    """With the card's profile it gives the speeds; not needed where both are given."""
    tokens_per_s: float | None = Field(default=None, gt=0)
    """Of training, as it was measured before."""
    new_tokens_per_s: float | None = Field(default=None, gt=0)
    """Of generation, as it was measured before."""
    start_s: float | None = Field(default=None, ge=0)
    """Seconds of a training besides its steps: start, last save and pick."""


class Arm(Strict):
    """How one arm differs from the anchor."""

    priority: int = 50
    """If the budget is too small, arms with the lowest priority leave first."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys -> values: of a stage (`sft.learning_rate`), or `base`, `template`, `seed`."""
    skip: tuple[str, ...] = ()
    """Stages that it leaves out."""


_DECIDES_LOSSES = ("data", "weights", "loss", "sequence_len", "excess_length_strategy", "beta", "max_prompt_tokens")
"""Keys of a stage whose values have losses over other tokens or on another scale."""


class Sweep(Strict):
    """Several values of one key of one stage; one of them is selected."""

    stage: str
    key: str
    values: tuple[float | int | str, ...] = Field(min_length=2)
    values_of: dict[str, tuple[float | int | str, ...]] = Field(default_factory=dict)
    """Other values for single arms."""
    arm: str = "each"
    """`each`: every arm selects its own value. Or one arm, whose value the others take."""
    halving: bool = False
    """Stops candidates early that are clearly worse by their validation losses."""

    @model_validator(mode="after")
    def _tries_each_value_once(self) -> Self:
        for values in (self.values, *self.values_of.values()):
            if len(set(values)) < len(values):
                raise ValueError(f"two values of {list(values)} are equal. Take one away")
        if self.halving and self.key in _DECIDES_LOSSES:
            raise ValueError(f"halving compares validation losses, and {self.key} decides what they mean. Take it away")
        return self

    def values_for(self, arm: str) -> tuple[float | int | str, ...]:
        """The candidates of an arm."""
        return self.values_of.get(arm, self.values)


class Sampling(Strict):
    """How responses are generated."""

    max_new_tokens: int = Field(gt=0)
    temperature: float = Field(default=0.0, ge=0)
    repetition_penalty: float = Field(default=1.0, gt=0)
    stop: tuple[str, ...] = ()
    response_prefix: str = ""


class Suite(Strict):
    """Items whose responses are generated once and scored by one or more suites of `oneday evaluate`."""

    items: str
    """Their file or folder, relative to `data_folder`; or `questions-of:STAGE`, whose data hold tasks out."""
    scores: tuple[str, ...] = Field(min_length=1)
    """The suites of `oneday evaluate` that score the responses."""
    languages: tuple[str, ...] = Field(min_length=1)
    num_items: int = Field(gt=0)
    """In each language: how many are asked of `held-out`, and what hours are estimated by."""
    prompt_tokens: float = Field(default=200.0, gt=0)
    response_tokens: float = Field(default=200.0, gt=0)
    """Of an item, on average. For estimates."""
    generation: Sampling
    use: tuple[Literal["select", "report"], ...] = ("report",)
    arms: tuple[str, ...] = ()
    """Empty: every arm."""
    settings: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Suite that scores -> its parameters, as `set` of `oneday evaluate` takes them."""

    def settings_of(self, score: str) -> dict[str, str]:
        """The parameters of one of `scores`."""
        given = self.settings.get(score, {})
        return {"questions": str(self.num_items), **given} if score == HELD_OUT else dict(given)

    @property
    def questions_of(self) -> str | None:
        """The stage whose held-out tasks are asked about; None: the items are a file or folder."""
        return self.items.removeprefix(QUESTIONS_OF) if self.items.startswith(QUESTIONS_OF) else None


class Deviation(Strict):
    """A place where the study departs from the paper."""

    what: str
    """A dotted key, or a few words."""
    paper: Any = None
    here: Any = None
    """Both are filled in where `what` is a key that `paper.settings` has."""
    why: str


class Paper(Strict):
    """The paper beside which the results are shown."""

    file: str
    """Its figures, one value a line; relative to `data_folder`. Without the file its columns are left out."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Dotted key -> the paper's value. Each that differs here is a deviation."""
    rows: dict[str, str] = Field(default_factory=dict)
    """Arm -> row of the paper's tables."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Metric -> column of the paper's tables."""


class Preset(Strict):
    """Named changes to a study, where paper and published files disagree."""

    about: str
    changes: dict[str, Any] = Field(default_factory=dict)


class Study(Strict):
    """All that a study's YAML holds, with one preset applied."""

    study: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    about: str
    base: str
    """Folder of the base model."""
    models: dict[str, ModelSize] = Field(default_factory=dict)
    """Sizes of the bases."""
    template: Template = Template.AUTO
    """As `oneday train` takes it."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    card: str
    """The profile that hours are estimated for."""
    budget: str
    """Wall-clock for all trainings, generations and scores together."""
    clock: Charging = Charging.STRICT
    data_folder: str = "data"
    sources: dict[str, Source]
    stages: tuple[Stage, ...] = Field(min_length=1)
    anchor: str
    arms: dict[str, Arm] = Field(min_length=1)
    sweep: Sweep | None = None
    selection: Selection | None = None
    suites: dict[str, Suite] = Field(default_factory=dict)
    deviations: tuple[Deviation, ...] = ()
    paper: Paper | None = None

    def stage(self, name: str) -> Stage:
        """The stage of a name."""
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def base_precision(self) -> Precision | None:
        """In which the base is asked: as the anchor's last stage trains, so that no difference is one of precision."""
        trained = [stage for stage in self.stages if stage.name not in self.arms[self.anchor].skip]
        return "4bit" if trained and trained[-1].weights == "qlora" else None

    def path(self, text: str) -> Path:
        """A path of the file, below `data_folder` unless it is absolute."""
        return Path(self.data_folder) / text

    def items(self, suite: Suite, folder: Path) -> Path:
        """The items of a suite. Questions that the study makes lie in its own folder."""
        stage = suite.questions_of
        return self.path(suite.items) if stage is None else folder / QUESTIONS / f"{stage}.jsonl"

    @model_validator(mode="after")
    def _names_what_exists(self) -> Self:
        stages, arms = [stage.name for stage in self.stages], self.arms
        for what, name, known in self._names(stages):
            if name not in known:
                raise ValueError(f"{what}: '{name}' does not exist{nearest(name, known)}")
        if double := next((name for name in stages if stages.count(name) > 1 or name in type(self).model_fields), None):
            raise ValueError(f"stages: the name '{double}' is taken. Give every stage a name of its own")
        if arms[self.anchor].changes:
            raise ValueError(f"arms.{self.anchor}.changes: the stages say what the anchor is; change them there")
        for stage in self.stages:
            if stage.unused:
                raise ValueError(f"{stage.name}.{stage.unused[0]} has no effect with weights: {stage.weights}")
        return self

    def _names(self, stages: list[str]) -> Iterator[tuple[str, str, list[str]]]:
        """(where it stands, name, what there is) of every name that refers to something."""
        arms = list(self.arms)
        yield "anchor", self.anchor, arms
        for stage in self.stages:
            yield from ((f"{stage.name}.data", name, list(self.sources)) for name in stage.data.names())
            yield f"{stage.name}.parent", stage.parent or BASE, [BASE, *stages]
        for name, arm in self.arms.items():
            yield from ((f"arms.{name}.skip", skipped, stages) for skipped in arm.skip)
        for name, suite in self.suites.items():
            yield from ((f"suites.{name}.arms", arm, arms) for arm in suite.arms)
            if suite.questions_of is not None:
                holding = [stage.name for stage in self.stages if isinstance(stage.data, Curated)]
                yield f"suites.{name}.items", suite.questions_of, holding
        if self.sweep:
            yield "sweep.stage", self.sweep.stage, stages
            yield "sweep.key", self.sweep.key, list(Stage.model_fields)
            yield "sweep.arm", self.sweep.arm, ["each", *arms]
            yield from (("sweep.values_of", arm, arms) for arm in self.sweep.values_of)
        if self.paper:
            yield from (("paper.rows", arm, arms) for arm in self.paper.rows)

    @model_validator(mode="after")
    def _can_select(self) -> Self:
        if self.sweep is None:
            if self.selection is not None:
                raise ValueError("selection: there is no sweep to select from. Take it away, or write a sweep")
            return self
        if self.selection is None:
            raise ValueError(
                "sweep: no selection says which value is taken. Write one, for instance metrics: [eval_loss]"
            )
        scored = {score: name for name, suite in self.suites.items() if "select" in suite.use for score in suite.scores}
        for metric in (*self.selection.metrics, *self.selection.then):
            if metric != EVAL_LOSS and metric.partition(".")[0] not in scored:
                known = [EVAL_LOSS, *(f"{score}.METRIC" for score in scored)]
                raise ValueError(f"selection: no suite that is used to select gives '{metric}'{nearest(metric, known)}")
        return self

    @model_validator(mode="after")
    def _scores_once(self) -> Self:
        seen: dict[tuple[str, str], str] = {}
        for name, suite in self.suites.items():
            for key in ((score, language) for score in suite.scores for language in suite.languages):
                if key in seen:
                    raise ValueError(
                        f"suites.{name}: {seen[key]} is scored by {key[0]} in {key[1]} too, and both figures would be "
                        "called the same. Take one away, or put the items into one suite"
                    )
                seen[key] = name
        return self

    @model_validator(mode="after")
    def _has_no_cycle(self) -> Self:
        parents = parents_of(self.stages)
        for name in parents:
            seen, at = [name], parents[name]
            while at is not None:
                if at in seen:
                    raise ValueError(
                        f"{name}.parent: a cycle: {' -> '.join([*seen, at])}. One stage must begin at base"
                    )
                seen.append(at)
                at = parents[at]
        return self


def parents_of(stages: tuple[Stage, ...]) -> Mapping[str, str | None]:
    """Stage -> its parent as declared; None: the base."""
    found: dict[str, str | None] = {}
    before: str | None = None
    for stage in stages:
        found[stage.name] = None if stage.parent == BASE else stage.parent or before
        before = stage.name
    return found


FOLDER = Path(__file__).parent


def shipped() -> list[Path]:
    """The studies that come with this package."""
    return sorted(FOLDER.glob("*.yml"))


def find_study(name: Path) -> Path:
    """The file itself, or the shipped study of that name: `finnish`, `finnish.yml`, `studies/finnish.yml`.

    Raises:
        StudyError: neither is there.
    """
    if name.is_file():
        return name
    stem = name.name.removesuffix(".yml")
    found = next((path for path in shipped() if path.stem == stem), None)
    if found is None or name.parent.name not in ("", "studies"):
        raise StudyError(f"{name}: no such study{nearest(stem, [path.stem for path in shipped()])}. Give a YAML file.")
    return found


def read_presets(path: Path) -> dict[str, Preset]:
    """The presets of a study's file; the first one is the default."""
    raw = read_document(path).get(PRESETS) or {}
    if not isinstance(raw, dict):
        raise StudyError(f"{path}: {PRESETS}: not a mapping of names. Write name: {{about: ..., changes: {{...}}}}.")
    return {str(name): validated(Preset, preset, f"{path}: {PRESETS}.{name}") for name, preset in raw.items()}


def read_study(path: Path, *, preset: str | None = None, changes: Mapping[str, object] | None = None) -> Study:
    """A study from YAML, with a preset and the caller's changes applied, in this order.

    Raises:
        StudyError: the first thing that is wrong with the file, preset or changes, in one line.
    """
    presets = read_presets(path)
    chosen = preset or next(iter(presets), None)
    raw = {key: value for key, value in read_document(path).items() if key != PRESETS}
    if chosen is not None:
        if chosen not in presets:
            raise StudyError(f"`preset={chosen}`: {path.name} has no such preset{nearest(chosen, presets)}.")
        raw = with_changes(raw, presets[chosen].changes, where=f"{path}: {PRESETS}.{chosen}")
    return validated(Study, with_changes(raw, changes or {}, where="`set=`"), str(path))
