"""The GPU benchmark: its shapes on a CPU where torch is installed, one clear line where it cannot run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from slackwise.latency.fit import fit_steps, predict
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
def test_the_layers_run_and_give_rows_that_tell_every_constant(tmp_path: Path) -> None:
    """What a busy CPU takes says little: the seconds are those of known constants, which the rows have to tell."""
    done = measure(tmp_path / "steps.csv", "LLaVA-OneVision-7B", *CPU)
    assert done.returncode == 0, done.stderr
    steps = read_steps(tmp_path / "steps.csv")
    assert steps.instance["model"] == "LLaVA-OneVision-7B"
    assert steps.instance["gpu"].startswith("CPU ")
    known = {"step": 2e-3, "slope": 1e-5, "kv": 1e-7, "attention": 1e-9, "encode_step": 1e-3, "encode_tile": 5e-3}
    found = fit_steps(replace(steps, seconds=predict(steps, known))).constants
    assert {name: found[name] for name in known} == pytest.approx(known, rel=0.02)


@with_torch
@pytest.mark.parametrize("cross", [False, True])
def test_decodes_and_a_prompt_in_one_step_get_what_each_gets_alone(
    cross: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = import_module("torch")
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    layers = import_module("torch_layers")
    torch.manual_seed(0)
    shape = layers.Shape(hidden=64, heads=8, kv_heads=2, head_dim=16, mlp=96, gated=True, cross=cross)
    stack = layers.blocks(torch, "cpu", shape, 2)
    decodes = layers.Part(3, 1, layers.caches(torch, "cpu", shape, 2, 3, 10))
    prompt = layers.Part(1, 5, layers.caches(torch, "cpu", shape, 2, 1, 7) if cross else None)
    x = torch.randn(8, 64, dtype=torch.bfloat16)
    together = layers.stacked(stack, x, [decodes, prompt])()
    apart = [layers.stacked(stack, x[:3], [decodes])(), layers.stacked(stack, x[3:], [prompt])()]
    assert float((together - torch.cat(apart)).abs().max()) < 0.05 * float(together.abs().max())


@with_torch
def test_heads_that_share_keys_attend_as_if_each_had_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = import_module("torch")
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    layers = import_module("torch_layers")
    torch.manual_seed(0)
    shape = layers.Shape(hidden=64, heads=8, kv_heads=2, head_dim=16, mlp=96, gated=True, cross=True)
    (block,), x = layers.blocks(torch, "cpu", shape, 1), torch.randn(3, 8 * 16, dtype=torch.bfloat16)
    ((key, value),) = kept = layers.caches(torch, "cpu", shape, 1, 3, 10)
    found = block._attention(x, layers.Part(3, 1, kept), 0).float()
    query, key, value = x.view(3, 8, 1, 16).float(), *(each.float().repeat_interleave(4, 1) for each in (key, value))
    weights = torch.softmax(query @ key.transpose(2, 3) / 16**0.5, -1)
    assert torch.allclose(found, (weights @ value).reshape(3, -1), atol=0.03)


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
