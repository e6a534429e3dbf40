"""The scripts that measure or read what the roofline was never fitted to."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slackwise.latency.engine import load_engine
from slackwise.latency.gpu import load_gpu
from slackwise.latency.rates import rates
from slackwise.latency.roofline import roofline
from slackwise.latency.stages import seconds_of

ROOT = Path(__file__).parents[2]
SIZES = (4 << 20, 16 << 20, 64 << 20)


def all_reduces(factor: float) -> pd.DataFrame:
    """Profiled all-reduces of 2, 4 and 8 A100s that take `factor` times as long as a ring's formula by hand."""
    reached = rates(load_gpu("A100-80GB"), load_engine("vllm"))
    rows = []
    for gpus in (2, 4, 8):
        for size in SIZES:
            seconds = reached.all_reduce_s + 2 * (gpus - 1) * reached.ring_step_s
            seconds += (2 * (gpus - 1) / gpus) ** 0.5 * size / reached.reduce_bytes_s
            rows.append((gpus, gpus, size, 1e3 * factor * seconds))
            rows.append((gpus, 1, size, 10e3 * factor * seconds))  # across servers
    return pd.DataFrame(rows, columns=["num_workers", "devices_per_node", "size", "time_stats.all_reduce.median"])


def attention(factor: float) -> pd.DataFrame:
    """Kernels of Llama 2 70B on two A100s, a long and a short one of each kind."""
    reached = rates(load_gpu("A100-80GB"), load_engine("vllm"))
    decode = [(64, context, 0, 64 * context * 2 * 2 * 4 * 128 / reached.kv_bytes_s) for context in (4096, 16)]
    prefill = [(1, 0, new, 4 * 32 * 128 * new**2 / 2 / reached.attention_flops_s) for new in (4096, 64)]
    shape = {"n_q_head": 64, "n_kv_head": 8, "n_embd": 8192, "num_tensor_parallel_workers": 2}
    names = ["batch_size", "kv_cache_size", "prefill_chunk_size"]
    rows = [
        {**shape, **dict(zip(names, row[:3], strict=True)), f"time_stats.{kind}.median": 1e3 * factor * row[3]}
        for kind, some in (("attn_decode", decode), ("attn_prefill", prefill))
        for row in some
    ]
    return pd.DataFrame(rows)


def overheads(stages: Sequence[str]) -> pd.DataFrame:
    """A millisecond a stage and GPU with 32 sequences; another model, and means, that must not count."""
    rows = [
        {"model_name": name, "batch_size": 32, "tensor_parallel_degree": gpus}
        | {f"{each}_MEDIAN": float(gpus) for each in stages}
        | {f"{each}_MEAN": 100.0 for each in stages}
        for name in ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-70b-hf")
        for gpus in (1, 2, 4)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def profiles(tmp_path: Path, modules: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that holds such profiles, all 1.25 times as long as the roofline says, A100 only."""
    blind, folder = modules("blind"), tmp_path / "clone"
    for path, table in (
        ("network/a100_dgx/all_reduce.csv", all_reduces(1.25)),
        ("a100/attention.csv", attention(1.25)),
        ("a100/cpu_overheads.csv", overheads(blind.OUTSIDE)),
    ):
        file = folder / "data" / "profiling" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(file, index=False)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "profiles"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    monkeypatch.setattr(blind, "SERVERS", {"A100-80GB": "a100_dgx"})
    for commit in ("NETWORK", "ATTENTION", "HOST"):
        monkeypatch.setattr(blind, commit, "HEAD")
    return folder


def test_errors_are_those_of_rows_made_by_hand(modules: Any, profiles: Path) -> None:
    blind = modules("blind")
    found = blind.all_reduces(profiles)
    assert list(found["what"]) == [
        f"all-reduce of {gpus} GPUs" for gpus in (2, 2, 4, 4, 8, 8)
    ]  # from 8 MiB, one server
    assert found["error"].to_numpy() == pytest.approx(-0.2)
    kernels = blind.attention(profiles)
    assert list(kernels["what"]) == ["decode attention", "prefill attention"]  # short ones left out
    assert kernels["error"].to_numpy() == pytest.approx(-0.2)


def test_the_tables_as_a_whole(modules: Any, profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blind = modules("blind")
    assert blind.main([str(profiles)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| all-reduce of 8 GPUs | A100-80GB | 2 | 20.0% | 20.0% | -20.0% |" in lines
    kernels_ms = [
        1e3 * seconds_of(roofline(blind.LLAMA, blind.A100, gpus), 32, 32 * blind.CONTEXT) - 2.0 for gpus in (1, 2, 4)
    ]
    outside_ms = [len(blind.OUTSIDE) * gpus for gpus in (1, 2, 4)]
    cells = [*outside_ms, *(one + other for one, other in zip(kernels_ms, outside_ms, strict=True))]
    assert lines[-1] == f"| 32 | {' | '.join(f'{each:.1f}' for each in cells)} |"


def test_a_folder_without_profiles_is_refused(modules: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert modules("blind").main([str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "is no clone of Vidur" in said.err
    assert len(said.err.splitlines()) == 1


def test_rates_of_handing_pixels_over(modules: Any) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("zmq")
    pixels = modules("pixels")
    # 10 MB in 20 ms to the first receiver; the sender's CPU: 5 ms, and 2 ms for every receiver
    made = [pixels.Measured("vllm-0.7-host", 1, n, 10_000_000, 0.02 * n, 0.005 + 0.002 * n) for n in (1, 3, 7)]
    assert "5e+08 bytes/s to the process of a second GPU, 5e+09 to each further one" in pixels.rates(made)


def test_the_engines_rates_are_those_in_docs() -> None:
    """Written there by pixels.py --publish."""
    page, engine = (ROOT / "docs" / "latency.md").read_text(encoding="utf-8"), load_engine("vllm-0.7-host")
    said = re.search(r"of `vllm-0.7-host`: (\S+) bytes/s to the process of a second GPU, (\S+) to each further", page)
    assert said is not None
    assert [float(each) for each in said.groups()] == [engine.pixels_bytes_s, engine.peer_pixels_bytes_s]


def test_pixels_are_handed_over(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("zmq")
    pixels = modules("pixels")
    monkeypatch.setattr(pixels, "REPEATS", 1)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "benchmarks" / "fidelity"), prepend=":")
    found = pixels.packed(1, 1)
    assert found.size == 4 * 3 * 4 * 560**2
    assert found.receivers == 1
    assert found.seconds > 0
