"""The real server with the plug-in on an emulated GPU: order over HTTP, bad deadlines, metrics (a small case)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

FIDELITY = Path(__file__).parents[2] / "benchmarks" / "fidelity"


@pytest.fixture(scope="module")
def benchmark(vllm: Any) -> Iterator[Any]:
    """The module benchmarks/fidelity/server.py."""
    sys.path.insert(0, str(FIDELITY))
    import server  # type: ignore[import-not-found, unused-ignore]

    yield server
    sys.path.remove(str(FIDELITY))


@pytest.fixture(scope="module")
def address(benchmark: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server with least_slack."""
    folder = tmp_path_factory.mktemp("server")
    with benchmark.server(folder, benchmark.configured("least_slack"), 8192) as found:
        benchmark.warm_up(found)
        yield found


def ask(address: str, xargs: dict[str, Any]) -> int:
    """Tokens that a request with these vllm_xargs is answered with."""
    body = {"model": "tiny", "prompt": [5] * 30, "max_tokens": 3, "ignore_eos": True, "vllm_xargs": xargs}
    request = Request(address + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as reply:
        return int(json.load(reply)["usage"]["completion_tokens"])


def test_deadlines_that_make_no_sense_are_answered_all_the_same(address: str) -> None:
    for xargs in ({"slo_ms": "soon"}, {"slo_ms": -1}, {"deadline_s": 1.0}, {"slo_ms": 250}):
        assert ask(address, xargs) == 3
    with urlopen(address + "/metrics", timeout=10) as reply:
        metrics = reply.read().decode()
    assert "slackwise:bad_deadlines_total" in metrics
    assert "slackwise:admission_slack_seconds_bucket" in metrics


def test_a_replay_over_http_gives_the_simulators_order_of_magnitude_and_counts(benchmark: Any, address: str) -> None:
    import asyncio

    arrival = np.linspace(0.0, 3.0, 30)
    found = asyncio.run(benchmark.replay(address, arrival, np.full(30, 600), np.full(30, 5), np.full(30, 2.0)))
    assert np.isfinite(found).all()
    counted = benchmark._counted(address)
    assert counted["admitted"] >= 30
    assert counted["fallbacks"] == 0
    both = benchmark.table(found, found)
    assert both["ratio"] == {"p50": 1.0, "p90": 1.0, "p99": 1.0, "mean": 1.0}
