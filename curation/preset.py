"""The parameters of a mix: every choice that decides it, and the presets.

    parameters = with_settings(PRESETS["birbal-scripts"], {"samples.quota_factor": "2"})
    for difference in differences(PRESETS["recommended"], parameters):
        print(difference.key, difference.a, difference.b, difference.why)

`birbal-paper` follows the winner's paper, and its scripts where the paper says nothing. `birbal-scripts` follows the
published scripts. `recommended` is this project's choice. Each field's docstring has its source.

What `recommended` draws was compared with random rows at equal tokens (`benchmarks/results/real/selection.json`; 135 M
parameters, 60,000 tokens, two seeds). Held-out tasks: +0.008 [-0.017, +0.033], not distinguished; so its quotas and
weights stay, and none flattens for a small mix.

Where it sits: the command line builds parameters; the pipeline and the manifest read them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from core.errors import MixError
from core.generation.request import Kind
from core.score import EmptyRule, Normaliser, Rouge, RougeText, ScoreParameters
from curation.asking.adaptive import AdaptiveParameters
from curation.candidate import CandidateParameters, References
from curation.fit import FitParameters
from curation.mix import MixParameters
from curation.ni.bucket import BucketParameters
from curation.ni.few_shot import PromptParameters, ShotOrder
from curation.ni.kind import TypingParameters
from curation.ni.select import SelectionRules
from curation.ni.task import EqualInputs, ReadingParameters
from curation.policies.duplicate import DedupKey
from curation.policies.licence import LicencePolicy
from curation.policies.policy import PolicyParameters
from curation.sample import Quota, SampleParameters
from curation.sources.mapping import OpenBookQA, RecordParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationParameters:
    """Everything that decides a mix, given the task files and the base model. The manifest contains all of it."""

    mix: str | None = None
    """One of the paper's mixes, with all its sources. None: what `tasks` holds and `source` names, NI rows as many
    as the 200k mix has."""
    scale: float = 1.0
    """Of the rows of Table 1; rows of your own are not scaled."""
    without: frozenset[str] = frozenset()
    instances_per_task: int | None = None
    """Number of instances of a task that are asked, drawn at random; None: all."""
    task_list: tuple[str, ...] | None = None
    """Canonical names of the tasks to take; they replace the rules."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    rules: SelectionRules = SelectionRules()
    reading: ReadingParameters = ReadingParameters()
    typing: TypingParameters = TypingParameters()
    prompts: PromptParameters = PromptParameters()
    scores: ScoreParameters = ScoreParameters()
    buckets: BucketParameters = BucketParameters()
    candidates: CandidateParameters = CandidateParameters()
    policies: PolicyParameters = PolicyParameters()
    records: RecordParameters = RecordParameters()
    samples: SampleParameters = SampleParameters()
    split: MixParameters = MixParameters()
    adaptive: AdaptiveParameters | None = None
    """None: every instance is asked."""
    fit: FitParameters | None = None
    """None: `mix` and `scale` decide the size."""
    signals: bool = False
    """Measure each asked row's loss with and without the prompt. Source: IFD, arXiv 2308.12032."""
    seed: int = 2023

    def __post_init__(self) -> None:
        self._check_signals()
        for name, weights, edges in (
            ("task_weights", self.samples.task_weights, self.buckets.num_task_buckets),
            ("generation_shares", self.samples.generation_shares, self.buckets.num_generation_buckets),
        ):
            if len(weights) != edges:
                raise MixError(f"samples.{name} has {len(weights)} weights for {edges} buckets. Give one per bucket.")
        if self.adaptive and self.samples.quota is Quota.POOLED:
            raise MixError(
                "`adaptive=true`: samples.quota=pooled draws from the wrong answers of all instances, so all must be "
                "asked. Leave `adaptive=true` and `within=` out, or set `samples.quota=proportional`."
            )

    def _check_signals(self) -> None:
        wanted = "`signals=true`" if self.signals else f"`policies.max_ifd={self.policies.max_ifd}`"
        if (self.signals or self.policies.max_ifd is not None) and not self.samples.asks(is_own=False):
            raise MixError(
                f"{wanted}: with `samples.control=` the base is not asked, so nothing is measured. Leave one out."
            )
        if self.policies.max_ifd is not None and not self.signals:
            raise MixError(f"{wanted}: the IFD of a row is not measured. Add `signals=true`.")

    def fingerprint(self) -> dict[str, object]:
        """All parameters as JSON values, in a fixed order."""
        return {
            "mix": self.mix,
            "scale": self.scale,
            "without": sorted(self.without),
            "instances_per_task": self.instances_per_task,
            "task_list": sorted(self.task_list) if self.task_list is not None else None,
            "kinds": dict(sorted(self.kinds.items())),
            "rules": self.rules.fingerprint(),
            **{name: asdict(getattr(self, name)) for name in _GROUPS},
            "adaptive": asdict(self.adaptive) if self.adaptive else None,
            "fit": asdict(self.fit) if self.fit else None,
            "signals": self.signals,
            "seed": self.seed,
        }


_GROUPS = ("reading", "typing", "prompts", "scores", "buckets", "candidates", "policies", "records", "samples", "split")
_SETTABLE = ("rules", *_GROUPS, "adaptive")


def reseeded(parameters: CurationParameters, seed: int) -> CurationParameters:
    """The parameters with one seed for every random choice."""
    return replace(
        parameters,
        seed=seed,
        prompts=replace(parameters.prompts, seed=seed),
        records=replace(parameters.records, seed=seed),
        samples=replace(parameters.samples, seed=seed),
        split=replace(parameters.split, seed=seed),
    )


_BIRBAL = CurationParameters(
    mix="200k",
    rules=SelectionRules(licences=LicencePolicy.ALL),
    reading=ReadingParameters(equal_inputs=EqualInputs.OWN, empty_references=True),
    prompts=PromptParameters(shot_order=ShotOrder.PER_INSTANCE),
    scores=ScoreParameters(
        normaliser=Normaliser.STRICT, rouge=Rouge.ROUGE, rouge_text=RougeText.CLEANED, empty=EmptyRule.REFERENCE
    ),
    candidates=CandidateParameters(references=References.SINGLE_ONLY),
    policies=PolicyParameters(
        max_tokens=None,
        max_words=800,
        min_input_words=5,
        licences=LicencePolicy.ALL,
        language=None,
        degenerate=False,
        dedup_key=DedupKey.INPUT,
        near_duplicates=None,
        refill=False,
    ),
    records=RecordParameters(openbookqa=OpenBookQA.WINNER, lower_case_math=0.3, question_as_input=True),
    split=MixParameters(stratified=False),
)

PRESETS: Mapping[str, CurationParameters] = {
    "recommended": CurationParameters(),
    "birbal-paper": replace(
        _BIRBAL,
        buckets=BucketParameters(edge_below=True),
        candidates=replace(_BIRBAL.candidates, min_accuracy=0.1),
        samples=SampleParameters(quota=Quota.POOLED),
    ),
    "birbal-scripts": replace(
        _BIRBAL,
        samples=SampleParameters(quota=Quota.PER_BUCKET, generation_shares=(0.8, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.0)),
        split=MixParameters(validation_rows=None, stratified=False),
    ),
}

WHY: Mapping[str, str] = {
    "mix": "the paper's other sources are taken where they are asked for",
    "rules.licences": "some of NI's licences bar commercial use: taking them is the user's choice",
    "prompts.shot_order": "one order per task lets an engine read the shots once",
    "reading.equal_inputs": "where data has several right answers, each is right",
    "reading.empty_references": "an empty answer teaches to answer nothing",
    "scores.normaliser": "`==` calls ' Positive.' wrong: 0 % right strict, up to 46 % normalised (measured)",
    "scores.rouge": "`rouge-score` with stemmer is the field's tested reference; numbers and other scripts stay whole",
    "scores.rouge_text": "the reference brings its own tokenizer",
    "scores.empty": "an empty prediction replaced by its reference scores 1.0 and is never sampled: a bug",
    "candidates.references": "a row with several right answers is no worse to train on; the first is taken",
    "candidates.min_accuracy": "what the base hardly ever gets right is what it has to learn",
    "policies.max_tokens": "the trainer's limit is in tokens: words only guess it",
    "policies.max_words": "replaced by real tokens",
    "policies.min_input_words": "it dropped most one-line questions",
    "policies.licences": "taking them is the user's choice",
    "policies.language": "the challenge is English; a few rows of LIMA and Open-Platypus are not",
    "policies.degenerate": "a broken answer is learnt like any other",
    "policies.dedup_key": "the input alone drops other tasks on the same text: 6,259 of 309,638 rows (measured)",
    "policies.near_duplicates": "the same question with the same answer, a few words apart, is trained on twice",
    "policies.refill": "what policies drop after the draw is missing from the quota",
    "records.openbookqa": "it also fits questions that are no incomplete sentence",
    "records.lower_case_math": "nobody measured that it helps",
    "records.question_as_input": "a question asked by a person is an instruction",
    "samples.quota": "proportional quotas meet Table 1 and give the worst tasks most rows",
    "samples.generation_shares": "the paper's 40 and 10 %",
    "buckets.edge_below": "[0, .2) as the script tests it",
    "split.stratified": "every task that can be is in both parts",
    "split.validation_rows": "enough to tell checkpoints apart, whatever the size of the mix",
}
"""Key -> why `recommended` differs from the other presets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A choice in which two sets of parameters differ."""

    key: str
    a: Any
    b: Any
    why: str


def flat(parameters: CurationParameters) -> dict[str, object]:
    """The parameters as dotted key -> JSON value."""
    values: dict[str, object] = {}
    for key, value in parameters.fingerprint().items():
        if isinstance(value, dict) and key != "kinds":
            values |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            values[key] = value
    return values


def differences(a: CurationParameters, b: CurationParameters) -> list[Difference]:
    """Every parameter that differs, by key."""
    left, right = flat(a), flat(b)
    return [
        Difference(key=key, a=left.get(key), b=right.get(key), why=WHY.get(key, ""))
        for key in sorted({*left, *right})
        if left.get(key) != right.get(key)
    ]


def preset(name: str) -> CurationParameters:
    """The preset of this name.

    Raises:
        MixError: unknown.
    """
    if name not in PRESETS:
        raise MixError(f"preset {name}: unknown. Use {', '.join(PRESETS)}.")
    return PRESETS[name]


def with_choice(parameters: CurationParameters, key: str, other: CurationParameters) -> CurationParameters:
    """`parameters` with one dotted choice taken from `other`."""
    group, _, name = key.partition(".")
    if not name:
        return replace(parameters, **{group: getattr(other, group)})
    mine, theirs = getattr(parameters, group), getattr(other, group)
    if not is_dataclass(mine) or not is_dataclass(theirs):
        return replace(parameters, **{group: theirs})
    changed: Any = replace(mine, **{name: getattr(theirs, name)})  # type: ignore[type-var]
    return replace(parameters, **{group: changed})


def with_settings(parameters: CurationParameters, settings: Mapping[str, object]) -> CurationParameters:
    """`parameters` with dotted keys set: `{"policies.max_tokens": "1024", "buckets.rouge_edges": "[.3,.6]"}`.

    A value that is no text is taken as it is.

    Raises:
        MixError: no such key, or a value of the wrong type.
    """
    groups: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        group, _, name = key.partition(".")
        choices = getattr(parameters, group) if group in _SETTABLE else None
        if choices is None or name not in {f.name for f in fields(choices)}:
            known = ", ".join(k for k in flat(parameters) if "." in k and k.split(".")[0] in _SETTABLE)
            hint = (
                "Say `adaptive=true` or `within=` too"
                if group == "adaptive" and choices is None
                else f"Use one of {known}"
            )
            raise MixError(f"`set={key}`: no such choice. {hint}.")
        parsed = _parsed(type(choices), name, value, key) if isinstance(value, str) else value
        groups.setdefault(group, {})[name] = parsed
    changed = {group: replace(getattr(parameters, group), **values) for group, values in groups.items()}
    return replace(parameters, **changed)


def _parsed(group: type, name: str, text: str, key: str) -> Any:
    """Parses `none`, a number, a word, or a JSON list as the field's type."""
    import typing

    import orjson
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    kind = typing.get_type_hints(group)[name]
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
    try:
        if text.startswith("["):
            value = adapter.validate_json(text)
        else:
            value = adapter.validate_python(None if text.lower() == "none" else text)
        orjson.dumps(value, default=sorted)  # a set; it will stand in the manifest
        return value
    except ValidationError as e:
        raise MixError(f"`set={key}={text}`: {e.errors()[0]['msg']}.") from e
    except TypeError as e:
        raise MixError(f"`set={key}={text}`: {e}. Give a value that JSON can hold.") from e
