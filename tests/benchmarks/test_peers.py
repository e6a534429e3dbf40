"""The comparison with other simulators: one job and one step time for all, and a run without peers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.latency.costs import step_seconds
from slackwise.traces import read

PEERS = Path(__file__).parents[2] / "benchmarks/peers"
ROWS = [("2023-11-16 18:15:46.6805900", 374, 44), ("2023-11-16 18:15:46.9", 2000, 3), ("2023-11-16 18:15:48.1", 30, 1)]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Looks up modules of benchmarks/peers."""
    monkeypatch.syspath_prepend(str(PEERS))
    yield import_module
    for name in ("run", "job", "worker", "dynosim_worker"):
        sys.modules.pop(name, None)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "conv.csv"
    rows = [",".join(map(str, row)) for row in ROWS]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    return path


def test_the_step_time_of_the_peers_is_that_of_the_simulator(module: Any, trace: Path) -> None:
    its, worker = module("job"), module("worker")
    job, cluster = vars(its.job_of(read(trace))), its.configuration().cluster
    costs = cluster.costs(cluster.pools[0])
    for tokens, kv_tokens, pairs in (
        (1, 500.0, 0.0),
        (2048, 0.0, 2048.0**2 / 2),
        (77, 40_000.0, 900.0),
        (2300, 9.0, 5.0),
    ):
        ours = step_seconds(costs.record, costs.linear_s, tokens, kv_tokens, pairs, 0, False)
        assert worker.step_seconds(job, tokens, kv_tokens, pairs) == pytest.approx(ours, rel=1e-12)


def test_dynosims_tables_hold_the_step_time_at_their_nodes(module: Any, trace: Path, tmp_path: Path) -> None:
    job, worker = vars(module("job").job_of(read(trace))), module("worker")
    module("dynosim_worker").tables(job, tmp_path / "profile.npz")
    with np.load(tmp_path / "profile.npz") as found:
        length, kv = found["prefill_isl"][-1], found["decode_active_kv_tokens"][7]
        context = found["decode_context_length"][3]
        assert found["prefill_ttft_ms"][-1] == 1e3 * worker.step_seconds(job, int(length), 0.0, length**2 / 2)
        decodes = round(kv / context)
        assert 1 < decodes < job["max_sequences"]
        assert found["decode_itl"][7, 3] == 1e3 * worker.step_seconds(job, decodes, kv, 0.0)


def test_a_run_without_peers_says_what_was_not_run(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    line = [sys.executable, str(PEERS / "run.py"), "--trace", str(trace), "--json", "--out", str(out)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found == json.loads(out.read_text())
    assert found["not_run"] == ["DynoSim", "Vidur", "splitwise-sim"]
    [ours] = found["peers"]
    assert ours["name"] == "slackwise"
    assert ours["ratio"] == 1.0
    assert ours["ttft_distance"] == 0.0
    assert ours["requests_per_s"] > 0
    assert ours["ttft_s"][0] > 0


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--vidur", "nowhere"], "nowhere does not exist"), (["--runs", "0"], "--runs 0 must be at least 1")],
)
def test_bad_arguments_are_refused_in_one_line(trace: Path, more: list[str], words: str) -> None:
    line = [sys.executable, str(PEERS / "run.py"), "--trace", str(trace), *more]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == f"run.py: {words}"


def test_a_peer_that_fails_is_named_with_its_complaint(module: Any, trace: Path, tmp_path: Path) -> None:
    run = module("run")
    command, job = [sys.executable, "vidur_worker.py", str(tmp_path)], tmp_path / "job.npz"
    module("job").job_of(read(trace)).save(job)
    with pytest.raises(InputError, match=r"Vidur failed: ModuleNotFoundError: No module named 'vidur'"):
        run.measure("Vidur", command, trace, job, 1)


def test_distance_is_of_the_distribution_functions(module: Any) -> None:
    run = module("run")
    assert run.distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0])) == 0.0
    assert run.distance(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert run.distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.5, 3.0, 4.0, 5.0])) == pytest.approx(0.5)
