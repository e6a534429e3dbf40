"""The GPU benchmark: its shapes on a CPU where torch is installed, one clear line where it is not."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from slackwise.latency.measured import read_steps

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fidelity" / "measure_torch.py"


def measure(output: Path) -> subprocess.CompletedProcess[str]:
    options = ["--device", "cpu", "--layers", "1", "--repeats", "1", "--small", "--output", str(output)]
    command = [sys.executable, str(SCRIPT), "LLaVA-OneVision-7B", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_the_benchmark_says_what_to_install(tmp_path: Path) -> None:
    done = measure(tmp_path / "steps.csv")
    assert done.returncode == 2
    assert "torch is needed here: pip install" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: the layer shapes cannot be run")
def test_the_layers_run_and_give_rows_that_calibrate_reads(tmp_path: Path) -> None:
    done = measure(tmp_path / "steps.csv")
    assert done.returncode == 0, done.stderr
    assert len(read_steps(tmp_path / "steps.csv").seconds) >= 11
