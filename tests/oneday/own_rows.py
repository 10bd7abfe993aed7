"""Synthetic own data for tests: letters to a shop, with a reply or the name of the department."""

import json
import random
from pathlib import Path
from typing import Any

NAMES = ("Anna", "Ben", "Carla", "Dev", "Ella", "Finn", "Gita", "Hugo", "Ines", "Jon")
THINGS = ("lamp", "chair", "phone", "book", "bike", "jacket", "kettle", "radio", "tent", "watch")
FAULTS = {
    "does not switch on": "technical", "arrived broken": "shipping", "is the wrong colour": "returns",
    "is too small": "returns", "makes a strange noise": "technical",
}  # fmt: skip
REPLY, SORT = "Write a short reply to this customer.", "Name the department: technical, shipping or returns."


def letters(num: int, *, sort: bool = False) -> list[dict[str, Any]]:
    """Makes rows whose output is a reply in free words or, with `sort`, the name of the department."""
    rng = random.Random(1)
    rows = []
    for number in range(num):
        name, thing, fault = rng.choice(NAMES), rng.choice(THINGS), rng.choice(sorted(FAULTS))
        reply = f"Dear {name}, we are sorry that the {thing} {fault}. Order {number} is on its way to {name} again."
        letter = f"My name is {name}. The {thing} of order {number} {fault}."
        answer = FAULTS[fault] if sort else reply
        row = {"instruction": SORT if sort else REPLY, "input": letter, "output": answer}
        rows.append(row | {"licence": "CC0-1.0", "id": f"letter-{number}"})
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
