"""The comparison with AIConfigurator: its answer as a fleet, its step times as a profile, the traffic in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.latency.costs import step_seconds
from slackwise.simulator import Cluster, Pool
from slackwise.simulator.workload import text_tokens
from slackwise.traces import Trace

PEERS = Path(__file__).parents[2] / "benchmarks/peers"
HEADER = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens"
ROWS = ["2024-10-15T12:00:00.0Z,1,2000,40", "2024-10-15T12:00:00.5Z,0,700,9", "2024-10-15T12:00:02.0Z,4,4000,80"]
EPD = {"way": "agg", "replicas": 3, "pools": [{"stages": "EPD", "instances": 1, "tensor_parallel": 2}]}
APART = {
    "way": "disagg, encoders apart",
    "replicas": 2,
    "pools": [
        {"stages": "E", "instances": 1, "tensor_parallel": 1},
        {"stages": "P", "instances": 3, "tensor_parallel": 1},
        {"stages": "D", "instances": 1, "tensor_parallel": 4},
    ],
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Looks up modules of benchmarks/peers."""
    monkeypatch.syspath_prepend(str(PEERS))
    yield import_module
    for name in ("sizing", "sizing_plan", "sizing_steps", "sizing_worlds", "aiconfigurator_worker"):
        sys.modules.pop(name, None)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


@pytest.fixture
def trace() -> Trace:
    """Two hundred requests of different sizes, ten a second."""
    generator = np.random.default_rng(0)
    return Trace(
        arrival_s=np.sort(generator.uniform(0, 20, 200)),
        recorded_images=generator.integers(0, 3, 200).astype(np.int32) ** 2,
        context_tokens=generator.integers(1500, 6000, 200).astype(np.int32),
        output_tokens=generator.integers(2, 60, 200).astype(np.int32),
        source="made up",
    )


def a_table(parallel: int = 1) -> dict[str, Any]:
    """The worker's table of an instance whose steps take what the roofline says."""
    cluster = Cluster("Qwen3-VL-8B", "H100", (Pool("EPD", 1, parallel),))
    costs = cluster.costs(cluster.pools[0])
    sizes = [(n, n * context, 0, 0) for n in (1, 64, 256) for context in (256, 1024, 4096)]
    sizes += [(0, 0, prompt, 0) for prompt in (64, 256, 512, 1024, 2048, 8192)]
    sizes += [(0, 0, 0, images) for images in (1, 2, 8, 16)]
    rows = []
    for decodes, context, prompt, images in sizes:
        seconds = step_seconds(
            costs.record, costs.linear_s, decodes + prompt, context, prompt * prompt / 2, images, False
        )
        sized = {"decodes": decodes, "context_tokens": context, "prompt_tokens": prompt, "images": images}
        rows.append(sized | {"tiles": images, "seconds": float(seconds)})
    return {"kv_tokens": costs.kv_capacity_tokens, "steps": rows}


def test_a_plan_is_a_fleet_of_all_its_replicas(module: Any) -> None:
    plan = module("sizing_plan").read_plan(APART)
    assert plan.gpus == 16
    assert plan.describe() == "2 x E TP-1, 6 x P TP-1, 2 x D TP-4"
    cluster = Cluster("Qwen3-VL-8B", "H100", plan.fleet())
    assert (cluster.topology, cluster.gpus) == ("E+P+D", 16)
    assert [pool.engine for pool in cluster.pools] == ["transformers", "vllm", "vllm"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pools": [{"stages": "EPD"}]}, "KeyError 'instances'"),
        ({"pools": "none"}, "no plan: TypeError"),
        ({"pools": []}, "has 3 replicas of 0 pools"),
        ({"replicas": 0}, "has 0 replicas of 1 pools"),
        ({"pools": [{"stages": "X", "instances": 1, "tensor_parallel": 1}]}, "unknown kind of instance 'X'"),
    ],
)
def test_an_answer_that_is_no_plan_is_refused(module: Any, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        module("sizing_plan").read_plan(EPD | change)


def test_a_plan_needs_step_times_of_each_of_its_sizes(module: Any) -> None:
    plan = module("sizing_plan").read_plan(APART)
    with pytest.raises(InputError, match="no step times of TP-4, which the plan disagg, encoders apart needs"):
        plan.fleet({1: "tp1.json", 2: "tp2.json"})
    assert [pool.profile for pool in plan.fleet({1: "tp1.json", 4: "tp4.json"})] == ["tp1.json", "tp1.json", "tp4.json"]


def test_rows_of_its_answer_become_pools_of_one_replica(module: Any) -> None:
    worker = module("aiconfigurator_worker")
    row = {"replicas_needed": 2, "total_gpus_needed": 12, "ttft": 250.0, "tpot": 20.0, "seq/s": 4.5}
    row |= {"encoder_latency": 10.5, "tp": 2, "bs": 48, "(a)workers": 3, "(e)workers": 1, "(e)tp": 1, "(e)bs": 4}
    row |= {"(p)workers": 5, "(p)tp": 1, "(p)bs": 1, "(d)workers": 2, "(d)tp": 4, "(d)bs": 64}

    def pools(mode: str, apart: bool) -> list[tuple[Any, ...]]:
        return [tuple(pool.values()) for pool in worker._plan(row, mode, apart)["pools"]]

    assert pools("agg", False) == [("EPD", 1, 2, 48)]
    assert pools("agg", True) == [("E", 1, 1, 4), ("PD", 3, 2, 48)]
    assert pools("disagg", False) == [("EP", 5, 1, 1), ("D", 2, 4, 64)]
    assert pools("disagg", True) == [("E", 1, 1, 4), ("P", 5, 1, 1), ("D", 2, 4, 64)]
    plan = worker._plan(row, "agg", True)
    assert (plan["ttft_s"], plan["tbt_s"], plan["capacity_rps"], plan["encode_s"]) == (0.25, 0.02, 9.0, 0.0105)


def test_a_plan_does_the_same_by_step_times_that_are_the_same(module: Any, trace: Trace, tmp_path: Path) -> None:
    steps, plans = module("sizing_steps"), module("sizing_plan")
    path, fit = steps.fitted(a_table(), tmp_path, "tp1")
    assert np.abs(fit.errors).max() < 0.15
    plan = plans.read_plan(EPD | {"pools": [{"stages": "EPD", "instances": 1, "tensor_parallel": 1}]})
    request = a_request(module, trace)
    roofline, profile = (plans.simulated(plan, trace, request, each) for each in (None, {1: path}))
    assert roofline["gpus"] == profile["gpus"] == 3
    assert roofline["ttft_s"] == sorted(roofline["ttft_s"])
    assert profile["ttft_s"][0] == pytest.approx(roofline["ttft_s"][0], rel=0.15)
    assert profile["tbt_s"][0] == pytest.approx(roofline["tbt_s"][0], rel=0.15)


def a_request(module: Any, trace: Trace) -> Any:
    return module("sizing").request_of("Qwen3-VL-8B", "H100", trace, 0)


def test_enough_is_the_fewest_replicas_that_meet_the_target(module: Any, trace: Trace) -> None:
    plans, request = module("sizing_plan"), a_request(module, trace)
    plan = plans.read_plan(EPD | {"pools": [{"stages": "EPD", "instances": 1, "tensor_parallel": 1}]})
    found = plans.enough(plan, trace, request)
    assert found["attainment"] >= request.target
    fewer = plans.Plan("fewer", found["gpus"] - 1, plan.pools)
    assert fewer.replicas == 0 or plans.simulated(fewer, trace, request)["attainment"] < request.target


def test_equal_step_times_have_a_ratio_of_one(module: Any) -> None:
    steps, table = module("sizing_steps"), a_table()
    cluster = Cluster("Qwen3-VL-8B", "H100", (Pool("EPD", 1, 1),))
    rows = steps.beside(table, cluster.costs(cluster.pools[0]))
    assert [row["step"] for row in rows[:3]] == ["encode 1 image", "encode 8 images", "prefill 512 tokens"]
    assert "decode 64 at 1024" in {row["step"] for row in rows}
    assert {row["ratio"] for row in rows} == {1.0}


@pytest.mark.parametrize("table", [{}, {"steps": [{"decodes": 1}], "kv_tokens": 5}, {"steps": 3, "kv_tokens": 5}])
def test_a_table_that_is_none_is_refused(module: Any, table: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table of steps"):
        module("sizing_steps").fitted(table, tmp_path, "tp1")


def test_the_worlds_lead_from_the_mean_request_to_the_trace(module: Any, trace: Trace) -> None:
    its = module("sizing_worlds")
    mean = its.mean_request(trace)
    even, poisson, mixed, real = its.worlds(trace, mean, 0).values()
    for each in (even, poisson):
        assert set(each.images.tolist()) == {mean.whole_images}
        assert set(text_tokens(each).tolist()) == {round(mean.text_tokens)}
    assert np.diff(even.arrival_s) == pytest.approx(1 / mean.rate_rps)
    assert poisson.span_s == pytest.approx(trace.span_s)
    assert (poisson.arrival_s == mixed.arrival_s).all()
    assert sorted(mixed.context_tokens.tolist()) == sorted(trace.context_tokens.tolist())
    assert real is trace


def test_traffic_without_images_or_without_a_rate_is_refused(module: Any, trace: Trace) -> None:
    its = module("sizing_worlds")
    with pytest.raises(InputError, match="no request has an image"):
        its.mean_request(trace.take(trace.images == 0))
    with pytest.raises(InputError, match="a rate needs two requests"):
        its.mean_request(trace.take(slice(0, 1)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ("[]", "lacks"),
        ('{"versions": {}, "plans": []}', "lacks failed, tables"),
        (
            json.dumps({"versions": {}, "plans": [], "failed": {"agg": "out of memory"}, "tables": {}}),
            "has no plan: agg: out of memory",
        ),
    ],
)
def test_an_answer_that_is_none_is_refused(module: Any, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        module("sizing").read_answer(text)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--python", "nowhere/python"], "nowhere/python does not exist"),
        (["--python", sys.executable], "AIConfigurator failed: ModuleNotFoundError: No module named 'aiconfigurator"),
        (["--python", sys.executable, "--model", "Qwen3-VL"], "unknown model 'Qwen3-VL': did you mean 'Qwen3-VL-8B'?"),
        (["--python", sys.executable, "--gpu", "B200"], "unknown GPU 'B200'"),
        (["--python", sys.executable, "--rate", "-1"], "--rate -1 must be positive and finite"),
    ],
)
def test_bad_arguments_end_in_one_line_and_leave_nothing(
    module: Any,
    csv: Path,
    more: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = csv.with_name("sizing.json")
    monkeypatch.setattr(sys, "argv", ["sizing.py", "--trace", str(csv), "--out", str(out), *more])
    with pytest.raises(SystemExit) as stop:
        module("sizing").main()
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith(f"sizing.py: {words}")
    assert list(csv.parent.iterdir()) == [csv]
