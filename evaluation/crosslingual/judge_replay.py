"""A judge's replies out of a file, as a predictor: what was judged once needs no judge.

    judge = Judge(lambda: JudgeReplay(Path("replies.jsonl")))

Where it sits: **judge_replay** -> judge.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.files import file_sha256, read_jsonl
from core.generation.request import Answer, Refused, Request
from evaluation.errors import EvaluationError


class JudgeReplay:
    """Replies out of a file: lines of `{about, language, id, reply}`, with `response_sha256` or without.

    One file may hold the replies to several models' responses, told apart by that hash.

    Raises:
        EvaluationError: a line of another layout, two replies to one question, or none at all.
    """

    in_flight = 1
    keeps_answers = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._replies: dict[tuple[str, str], dict[str | None, str]] = {}
        for number, row in enumerate(read_jsonl(path), start=1):
            self._add(row, f"{path}: record {number}")
        if not self._replies:
            raise EvaluationError(f"{path}: no reply in it. Each line holds {{about, language, id, reply}}.")
        self.revision = f"replay:{file_sha256(path)}"

    def _add(self, row: Mapping[str, Any], where: str) -> None:
        about, language, identity = (row.get(name) for name in ("about", "language", "id"))
        reply, digest = row.get("reply", ...), row.get("response_sha256")
        texts = (about, language, identity, reply or "", digest or "")
        if not all(isinstance(text, str) for text in texts):
            raise EvaluationError(f"{where} lacks about, language, id or reply as text. Add it; reply may be null.")
        of_question = self._replies.setdefault((f"{about}/{language}", str(identity)), {})
        if digest in of_question:
            raise EvaluationError(f"{where} is the second reply about {about} {language} {identity}. Remove one.")
        of_question[digest] = reply or ""  # null: the judge said nothing, which cannot be read

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Nothing is too long to be looked up."""
        return True

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        """The recorded replies; a question without one is refused.

        Raises:
            EvaluationError: the only replies were given about other responses.
        """
        return [self._find(request) for request in requests]

    def _find(self, request: Request) -> Answer:
        found = self._replies.get((request.task, request.id))
        if not found:
            return Refused(reason="no_recorded_reply", detail=request.id)
        for digest in (request.references[0], None):
            if digest in found:
                return found[digest]
        raise EvaluationError(
            f"{self._path}: its reply about {request.task} {request.id} was given to another response. "
            "Give the replies to these responses, or remove response_sha256."
        )
