"""What the tests of the latency model share."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Looks up modules of benchmarks/fidelity."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "fidelity"))
    return import_module
