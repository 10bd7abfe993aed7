"""A small suite for tests: capitals, with a part for each continent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from evaluation.responses import Prompt, Response
from evaluation.suite import Item, Metric, Outcome, Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Capital(Item):
    country: str
    capital: str


class Capitals(Suite[Capital]):
    name: ClassVar[str] = "capitals"
    recorded_names: ClassVar[tuple[str, ...]] = ("World_Capitals",)
    takes_unnamed: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(name="accuracy"),
        Metric(name="macro", macro_over="continent"),
        Metric(name="characters", headline=False),
        Metric(name="median_characters", statistic="median", headline=False),
    )

    def __init__(self, items: Sequence[Capital]) -> None:
        self._items = tuple(items)

    def items(self) -> Sequence[Capital]:
        return self._items

    def prompt(self, item: Capital) -> Prompt:
        return f"What is the capital of {item.country}?"

    def score(self, item: Capital, response: Response) -> Sequence[Outcome]:
        right, length = float(item.capital in response.text), float(len(response.text))
        by = {"continent": item.suite.partition("/")[2]}
        return [
            Outcome(metric="accuracy", value=None if response.text == "?" else right, by=by),
            Outcome(metric="macro", value=right, by=by),
            Outcome(metric="characters", value=length),
            Outcome(metric="median_characters", value=length),
        ]


def capital(part: str, identity: str, country: str, city: str) -> Capital:
    return Capital(suite=f"capitals/{part}", language="en", id=identity, country=country, capital=city)


def three() -> Capitals:
    return Capitals(
        [
            capital("europe", "0", "Finland", "Helsinki"),
            capital("europe", "1", "France", "Paris"),
            capital("asia", "0", "Japan", "Tokyo"),
        ]
    )


def recorded(part: str, identity: str, response: str, **more: Any) -> dict[str, Any]:
    return {"task": f"World_Capitals/{part}", "id": identity, "response": response, **more}


ANSWERS = [
    recorded("asia", "0", "Tokyo"),
    recorded("europe", "1", "Lyon"),
    recorded("europe", "0", "Helsinki, or so"),
]


def write(path: Path, rows: Sequence[Mapping[str, Any] | str]) -> Path:
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path
