"""An engine that computes: measured, calibrated, replayed under load; counts and order hold, times are not judged."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FIDELITY = Path(__file__).parents[2] / "benchmarks" / "fidelity"


@pytest.fixture
def benchmark(vllm: Any) -> Iterator[Any]:
    """The module benchmarks/fidelity/compute.py."""
    sys.path.insert(0, str(FIDELITY))
    import compute  # type: ignore[import-not-found, unused-ignore]

    yield compute
    sys.path.remove(str(FIDELITY))


def test_a_computing_engine_serves_in_the_order_of_the_policy_and_loses_nothing(benchmark: Any, tmp_path: Path) -> None:
    found = benchmark.compare(tmp_path, 60, 2.0, 0, {})
    for batching in ("fcfs", "least_slack"):
        assert found[batching]["tokens"] == found[batching]["tokens_wanted"]
        assert found[batching]["fallbacks"] == 0
    assert found["gain_simulated"] > 0.0
    pairs = 60 * 59 // 2
    arrivals, slack = found["fcfs"]["overtakes"], found["least_slack"]["overtakes"]
    assert sum(arrivals.values()) < 0.05 * pairs  # of prompts that end in the same step
    assert slack["by_others"] < 0.05 * pairs
    assert slack["by_earlier_deadline"] >= slack["by_others"]  # both 0 where the machine is so fast that nobody waits
