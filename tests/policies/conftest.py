"""Records for policy tests: everything zero but what a test names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from slackwise.policies.features import INSTANCE, REQUEST


@pytest.fixture
def request_of() -> Callable[..., Any]:
    """Make a REQUEST record of the features named."""
    return lambda **features: _record(REQUEST, features)


@pytest.fixture
def instance_of() -> Callable[..., Any]:
    """Make an INSTANCE record of the features named, in a pool of one."""
    return lambda **features: _record(INSTANCE, {"pool_size": 1} | features)


def _record(dtype: np.dtype[np.void], features: dict[str, Any]) -> Any:
    record = np.zeros(1, dtype).view(np.recarray)[0]
    for name, value in features.items():
        record[name] = value
    return record
