"""Which judge, and where its replies are kept: the parameters that `relevance`, `judge` and `modifiers` share.

    judge = JudgeParameters(judge_replies=Path("replies.jsonl")).open(json_mode=True)

Where it sits: judge -> **judge_parameters** -> judged, modified.
"""

from dataclasses import dataclass
from pathlib import Path

from core.generation.engine import Engine
from evaluation.crosslingual.judge import Judge
from evaluation.crosslingual.judge_replay import JudgeReplay
from evaluation.errors import EvaluationError

NO_JUDGE = "no judge: give judge_url or judge_replies"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeParameters:
    """The judge of a suite. Without one, what needs it is not run."""

    judge_url: str | None = None
    """An OpenAI-compatible endpoint, up to and including `/v1`. It gets OPENAI_API_KEY, if that is set."""
    judge_model: str | None = None
    """As the endpoint names it. None: the only one that it serves."""
    judge_replies: Path | None = None
    """A file of recorded replies instead of an endpoint."""
    judge_retries: int = 2
    """How often an unreadable reply is asked for again."""
    judge_json_mode: bool = True
    """Whether an endpoint is asked for JSON (`response_format`) where JSON is wanted. False for one that refuses it."""
    judge_cache: Path = Path("runs/judge/answers.jsonl")
    """Keeps every reply of an endpoint by the hash of prompt, response, judge and settings."""
    judge_record: Path | None = None
    """Where the replies are written in the form that `judge_replies` takes."""

    def __post_init__(self) -> None:
        if self.judge_retries < 0:
            raise EvaluationError(f"judge_retries={self.judge_retries}: below 0. Give 0 or more.")

    def open(self, *, json_mode: bool) -> Judge | None:
        """The judge; None: none is given.

        Args:
            json_mode: Whether it is asked for a JSON object.

        Raises:
            EvaluationError: both an endpoint and a file are named, the file cannot be used, there is no such endpoint,
                or it answers no JSON.
        """
        if self.judge_url is not None and self.judge_replies is not None:
            raise EvaluationError("judge_url and judge_replies are both given. Give one of them.")
        if self.judge_replies is not None:
            replay = JudgeReplay(self.judge_replies)
            return Judge(lambda: replay, record=self.judge_record)
        if self.judge_url is None:
            return None
        engine = Engine(
            name="openai", url=self.judge_url, model=self.judge_model, sends_key=True, chat=True,
            json_mode=json_mode and self.judge_json_mode,
        )  # fmt: skip
        return Judge(engine.build, cache=self.judge_cache, retries=self.judge_retries, record=self.judge_record)
