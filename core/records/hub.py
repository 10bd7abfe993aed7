"""A data set of the datasets hub, streamed by `datasets`.

    is_hub_name("databricks/databricks-dolly-15k")
    for item in hub_records("databricks/databricks-dolly-15k@1e9a8f9"):
        ...

Where it sits: beside container; it imports `datasets`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.model.libraries import hub
from core.records.json_text import Items
from core.records.name import PACKED, SUFFIXES
from core.records.record import Place, Record

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(?:/[\w.-]+)?(?:@[\w./-]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubName:
    """`OWNER/NAME`, `OWNER/NAME/CONFIGURATION`, either with `@REVISION`."""

    repository: str
    configuration: str | None
    revision: str | None
    """A branch, tag or commit; None: the newest."""

    @classmethod
    def parse(cls, text: str) -> "HubName":
        """Of a text that `is_hub_name`.

        >>> HubName.parse("openai/gsm8k/main@v1").configuration
        'main'
        """
        name, _, revision = text.partition("@")
        owner, repository, *rest = name.split("/")
        return cls(
            repository=f"{owner}/{repository}", configuration=rest[0] if rest else None, revision=revision or None
        )


def is_hub_name(text: str) -> bool:
    """Whether a text that was given as data names a data set of the hub: no such path, and no file by its suffix.

    >>> is_hub_name("openai/gsm8k"), is_hub_name("data/mine.jsonl"), is_hub_name("tests/missing")
    (True, False, False)
    """
    path = Path(text.partition("@")[0])
    if path.exists() or text.lower().endswith((*PACKED, *SUFFIXES)):
        return False
    return _NAME.fullmatch(text) is not None and not Path(path.parts[0]).is_dir()


def pinned(text: str) -> str:
    """A data set's name with the commit that it stands for now, so that what is read is what is recorded.

    Raises:
        DataError: unknown, gated, or no network.
    """
    import httpx
    from huggingface_hub import HfApi

    name = HubName.parse(text)
    try:
        with hub(is_asked_for=False):
            commit = HfApi().dataset_info(name.repository, revision=name.revision).sha
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as e:
        raise DataError(_unreachable(text, e)) from e
    return f"{name.repository}{'/' + name.configuration if name.configuration else ''}@{commit}"


def hub_records(text: str) -> Items:
    """The records of the `train` split.

    Raises:
        DataError: unknown, gated, several configurations, no network, or no such split.
    """
    name = HubName.parse(text)
    for number, row in enumerate(_stream(text, name), start=1):
        yield Record(place=Place(file=text, number=number), columns=row)


def _stream(text: str, name: HubName) -> Any:
    import datasets
    import httpx

    try:
        data = datasets.load_dataset(
            name.repository, name.configuration, split="train", revision=name.revision, streaming=True
        )
        yield from data
    except (httpx.HTTPError, OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as e:
        raise DataError(_unreachable(text, e)) from e


def _unreachable(text: str, error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    why = next(iter(str(cause).splitlines()), "") or type(cause).__name__
    return (
        f"{text}: no such file or folder, and it cannot be had from the datasets hub ({why}). Check the name, the "
        "network, HF_HUB_OFFLINE and, for a gated one, `hf auth login`."
    )
