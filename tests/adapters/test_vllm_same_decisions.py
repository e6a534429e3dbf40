"""vLLM's real scheduler and the simulator's preset take the same decisions (a small case of the benchmark)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

FIDELITY = Path(__file__).parents[2] / "benchmarks" / "fidelity"


@pytest.fixture
def benchmark(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module benchmarks/fidelity/scheduler.py."""
    monkeypatch.syspath_prepend(str(FIDELITY))
    sys.modules.pop("scheduler", None)
    import scheduler  # type: ignore[import-not-found, unused-ignore]

    return scheduler


def table(benchmark: Any, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What the benchmark prints for a minute and a half of the synthetic week on four monoliths' share of it."""
    given = ["--trace", "synthetic", "--hours", "0.05", "--seconds", "90", "--gpus", "8", "--json", *arguments]
    assert benchmark.main(given) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--plug-in",),
        ("--batching", "least_slack"),
        ("--text-only", "--rate", "3", "--batching", "least_slack"),
        ("--batching", "modality_class_aging", "--set", "chunking=k_images"),
    ],
)
def test_ninety_nine_of_a_hundred_requests_have_the_same_ttft_within_one_percent(
    benchmark: Any, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    found = table(benchmark, capsys, *arguments)
    assert found["requests"] > 100
    assert found["within_1pct"] >= 0.99
    assert found["end_within_1pct"] >= 0.99
    assert 0.99 <= found["ttft_p99_ratio"] <= 1.01


def test_two_policies_that_differ_are_told_apart(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    means = [
        table(benchmark, capsys, "--plug-in", "--batching", each)["vllm_ttft_s"] for each in ("fcfs", "reverse_slack")
    ]
    assert means[0] != means[1]
