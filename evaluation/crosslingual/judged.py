"""The 113 instructions by a judge or by people: `relevance` and `judge`.

    suite = load_judge(Path("crosslingual"), JudgeSuiteParameters(judge_replies=Path("replies.jsonl")))

Where it sits: instructions, judge, ratings, agreement -> **judged** -> scoring.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.crosslingual.agreement import ENGLISH, LABELS, NON_ENGLISH, Agreement, agreement
from evaluation.crosslingual.criteria import (
    JUDGE_PROMPT,
    JUDGE_PROMPT_SHA256,
    RELEVANCE_PROMPT,
    RELEVANCE_PROMPT_SHA256,
    Criterion,
    Scores,
    fill,
    parse_binary,
    parse_scores,
    read_prompt,
)
from evaluation.crosslingual.instructions import Instruction, read_instructions
from evaluation.crosslingual.judge import Judge, Question
from evaluation.crosslingual.judge_parameters import NO_JUDGE, JudgeParameters
from evaluation.crosslingual.ratings import Rating, UnknownLanguage, averaged, read_ratings
from evaluation.crosslingual.surface import CrosslingualSuite, Parameter
from evaluation.errors import EvaluationError
from evaluation.responses import Response
from evaluation.suite import Metric, Outcome, Table

EMPTY: Scores = dict.fromkeys(Criterion, 0)
"""Of an empty response, about which nobody is asked: it is in no language, so Language alone is averaged."""


class Relevance(CrosslingualSuite):
    """Whether a judge calls a response relevant.

    Args:
        prompt: The published text.
        judge: None: nothing is run.
    """

    name = "relevance"
    metrics = (Metric(name="relevance"),)

    def __init__(self, items: Sequence[Instruction], prompt: str, judge: Judge | None) -> None:
        super().__init__(items)
        self._judge_prompt, self._judge = prompt, judge
        self._scores: dict[tuple[str, str], int | None] = {}

    def parameters(self) -> Mapping[str, Parameter]:
        """The judge and its prompt."""
        asked = self._judge.parameters() if self._judge else {}
        return {**asked, "judge_prompt_sha256": RELEVANCE_PROMPT_SHA256}

    def not_run(self) -> Mapping[str, str]:
        """All of it without a judge."""
        return {} if self._judge else {"relevance": NO_JUDGE}

    def prepare(self, pairs: Sequence[tuple[Instruction, Response]]) -> None:
        """Asks the judge about all responses."""
        if self._judge is None:
            return
        asked = questions("relevance", self._judge_prompt, pairs)
        replies = self._judge.ask(asked, lambda text: parse_binary(text) is not None)
        self._scores = {(r.language, r.id): parse_binary(r.text or "") for r in replies}

    def score(self, item: Instruction, response: Response) -> Sequence[Outcome]:
        """An empty response is not relevant."""
        if self._judge is None:
            return []
        value = self._scores[item.language, item.id] if response.text.strip() else 0
        return [Outcome(metric="relevance", value=None if value is None else float(value), by=self.by(item))]


def questions(about: str, prompt: str, pairs: Iterable[tuple[Instruction, Response]]) -> list[Question]:
    """One a response that is not empty."""
    return [
        Question(
            about=about,
            language=item.language,
            id=item.id,
            prompt=fill(prompt, task=item.text, submission=response.text),
            response=response.text,
        )
        for item, response in pairs
        if response.text.strip()
    ]


def load_relevance(path: Path, parameters: JudgeParameters) -> Relevance:
    """The suite over a folder that holds instructions and prompt."""
    prompt = read_prompt(path if path.is_dir() else path.parent, RELEVANCE_PROMPT, RELEVANCE_PROMPT_SHA256)
    return Relevance(read_instructions(path), prompt, parameters.open(json_mode=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSuiteParameters(JudgeParameters):
    """Who rates by the six criteria, and what is averaged."""

    ratings: Path | None = None
    """People's ratings, {id, language, arm, rater, Language, Helpfulness, ...} with 0 to 2 each. With a judge, how far
    both agree is shown too; without one, the figures are theirs."""
    arm: str | None = None
    """Whose ratings of that file are used. None: it rates one arm alone."""
    unknown_language: UnknownLanguage = UnknownLanguage.LEFT_OUT
    """Whether a response whose Language is open counts in the other criteria: `left-out` or `averaged`."""


class JudgeSuite(CrosslingualSuite):
    """Six criteria, 0 to 2, in English and as the plain mean over the other languages.

    Args:
        judge: None: people's ratings are averaged.
        people: Ratings of the arm whose responses are scored.
    """

    name = "judge"
    metrics = tuple(
        Metric(name=f"{criterion}/{group}", macro_over=None if group == ENGLISH else "language", graded=True)
        for criterion in Criterion
        for group in (ENGLISH, NON_ENGLISH)
    )

    def __init__(
        self,
        items: Sequence[Instruction],
        prompt: str,
        judge: Judge | None,
        people: Sequence[Rating],
        parameters: JudgeSuiteParameters,
    ) -> None:
        super().__init__(items)
        self._judge_prompt, self._judge, self._people, self._parameters = prompt, judge, people, parameters
        self._ratings: dict[tuple[str, str], list[Rating]] = {}
        self._agreements: Sequence[Agreement] = ()

    def parameters(self) -> Mapping[str, Parameter]:
        """Who rates, by which prompt, and what is done with an open Language."""
        asked = (
            dict(self._judge.parameters())
            if self._judge
            else {"raters": ", ".join(sorted({r.rater for r in self._people}))}
        )
        return {
            **asked,
            "judge_prompt_sha256": JUDGE_PROMPT_SHA256,
            "unknown_language": str(self._parameters.unknown_language),
        }

    def not_run(self) -> Mapping[str, str]:
        """All of it without a judge and without ratings."""
        if self._judge or self._people:
            return {}
        reason = f"{NO_JUDGE}, or people's ratings"
        return {metric.name: reason for metric in self.metrics}

    def one_file_only(self) -> str:
        """People rated the responses of one arm; the ratings say nothing about another file."""
        return "" if self._judge or not self._people else "people's ratings are of one file of responses"

    def prepare(self, pairs: Sequence[tuple[Instruction, Response]]) -> None:
        """Asks the judge about all responses, or takes people's ratings."""
        judged = list(self._judged(pairs)) if self._judge else []
        self._agreements = agreement(judged, self._people) if judged else ()
        self._ratings = {}
        for rating in judged or self._people:
            self._ratings.setdefault((rating.language, rating.id), []).append(rating)

    def _judged(self, pairs: Sequence[tuple[Instruction, Response]]) -> Iterable[Rating]:
        assert self._judge is not None
        asked = questions("criteria", self._judge_prompt, pairs)
        replies = self._judge.ask(asked, lambda text: None not in parse_scores(text).values())
        scores = {(r.language, r.id): parse_scores(r.text or "") for r in replies}
        arm = self._people[0].arm if self._people else ""
        for item, _ in pairs:
            of_item = scores.get((item.language, item.id), EMPTY)
            yield Rating(id=item.id, language=item.language, arm=arm, rater="judge", scores=of_item)

    def tables(self) -> Sequence[Table]:
        """How far judge and people agree, if both rated."""
        return [_exact_table(self._agreements), *map(_cell_table, self._agreements)] if self._agreements else []

    def score(self, item: Instruction, response: Response) -> Sequence[Outcome]:
        """Each rater's scores; those of a response in the wrong language are left out but for Language."""
        group = ENGLISH if item.language == "en" else NON_ENGLISH
        by = {f"task (ours), {group}": item.task} if item.task else {}
        if group == NON_ENGLISH:
            by["language"] = item.language
        return [
            Outcome(metric=f"{criterion}/{group}", value=None if score is None else float(score), by=by)
            for rating in self._ratings.get((item.language, item.id), ())
            for criterion, score in averaged(rating.scores, self._parameters.unknown_language)
        ]


def _exact_table(agreements: Iterable[Agreement]) -> Table:
    """Kappa is `undefined` where a rater used one score alone."""
    return Table(
        title="agreement of judge and people",
        columns=("criterion", "languages", "n", "open", "exact", "kappa, quadratic weights"),
        rows=tuple(
            (
                str(a.criterion), a.group, str(a.num), str(a.num_open), "-" if a.exact is None else f"{a.exact:.4f}",
                "-" if not a.num else "undefined" if a.kappa is None else f"{a.kappa:.4f}",
            )
            for a in agreements
        ),
    )  # fmt: skip


def _cell_table(of: Agreement) -> Table:
    return Table(
        title=f"{of.criterion}, {of.group}: per cent of {of.num} rated so",
        columns=("", *(f"people {label}" for label in LABELS)),
        rows=tuple((f"judge {label}", *(f"{percent:.1f}" for percent in of.percent[label])) for label in LABELS),
    )


def load_judge(path: Path, parameters: JudgeSuiteParameters) -> JudgeSuite:
    """The suite over a folder that holds instructions and prompt.

    Raises:
        EvaluationError: ratings of several arms and none named, or of none of these instructions.
    """
    prompt = read_prompt(path if path.is_dir() else path.parent, JUDGE_PROMPT, JUDGE_PROMPT_SHA256)
    items = read_instructions(path)
    people = _people(parameters, items) if parameters.ratings else []
    return JudgeSuite(items, prompt, parameters.open(json_mode=True), people, parameters)


def _people(parameters: JudgeSuiteParameters, items: Sequence[Instruction]) -> list[Rating]:
    path = parameters.ratings
    assert path is not None
    ratings = read_ratings(path)
    arms = sorted({rating.arm for rating in ratings})
    arm = parameters.arm or (arms[0] if len(arms) == 1 else None)
    if arm not in arms:
        asked = "no arm is named" if arm is None else f"not {arm}"
        raise EvaluationError(f"{path}: rates {', '.join(arms)}; {asked}. Name the `arm` whose responses these are.")
    known = {(item.language, item.id) for item in items}
    found = [rating for rating in ratings if rating.arm == arm and (rating.language, rating.id) in known]
    if not found:
        raise EvaluationError(f"{path}: rates none of these instructions. Ids count lines from 0.")
    return found
