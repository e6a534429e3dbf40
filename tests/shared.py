"""The folder of published data that some tests check against; they skip where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PLACE = Path(os.environ.get("SLACKWISE_SHARED", Path(__file__).parents[2] / "shared"))


def shared_data(name: str) -> Path:
    """The file `name` of the data folder; skips the test where there is none.

    The folder lies beside the repository, or where the environment variable SLACKWISE_SHARED says.
    """
    path = PLACE / "data" / name
    if not path.exists():
        pytest.skip(f"{path} is absent: the published data do not come with the repository")
    return path
