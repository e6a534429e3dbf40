"""The GPU benchmark: its shapes on a CPU where torch is installed, one clear line where it cannot run."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from slackwise.latency.fit import fit_steps
from slackwise.latency.measured import read_steps

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fidelity" / "measure_torch.py"
CPU = ("--device", "cpu", "--layers", "1", "--repeats", "1", "--small")
with_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: no layer can be run")


def measure(output: Path, model: str = "LLaVA-OneVision-7B", *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), model, "--output", str(output), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_the_benchmark_says_what_to_install(tmp_path: Path) -> None:
    done = measure(tmp_path / "steps.csv")
    assert done.returncode == 2
    assert "torch is needed here: pip install 'slackwise[gpu]'" in done.stderr
    assert not list(tmp_path.iterdir())


@with_torch
def test_the_layers_run_and_give_rows_that_calibrate_fits(tmp_path: Path) -> None:
    done = measure(tmp_path / "steps.csv", "LLaVA-OneVision-7B", *CPU)
    assert done.returncode == 0, done.stderr
    steps = read_steps(tmp_path / "steps.csv")
    assert steps.instance["model"] == "LLaVA-OneVision-7B"
    assert steps.instance["gpu"].startswith("CPU ")
    assert fit_steps(steps).constants["encode_tile"] > 0


@with_torch
@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("Qwen2.5-VL-7B", CPU, "windowed attention is not built here"),
        ("Lama-3.2-11B-Vision", CPU, "did you mean 'Llama-3.2-11B-Vision'"),
        ("Qwen3-VL-8B", (*CPU, "--layers", "0"), "must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_measured_leaves_no_file(
    tmp_path: Path, model: str, options: tuple[str, ...], reason: str
) -> None:
    done = measure(tmp_path / "steps.csv", model, *options)
    assert done.returncode == 2
    assert reason in done.stderr
    assert not list(tmp_path.iterdir())
