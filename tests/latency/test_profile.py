"""Profiles in place of the roofline: an instance takes a calibrated one, and is refused another's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.latency.fit import fit_steps
from slackwise.latency.gpu import load_gpu
from slackwise.latency.measured import Steps
from slackwise.latency.model import load_model
from slackwise.latency.profile import instance_costs, profile, same_gpu, write_profile
from slackwise.latency.roofline import roofline
from slackwise.latency.stages import seconds_of
from slackwise.policies.bundle import Policies, PolicyChoice
from slackwise.simulator import Cluster, Configuration, Objectives, Pool, Simulation
from slackwise.simulator.result import result_of
from slackwise.traces import Trace

MODEL, GPU = "InternVL2.5-26B", "H100"
OBJECTIVES = Objectives(text_ttft_s=0.3, image_ttft_s=0.6, text_tbt_s=0.05, image_tbt_s=0.05)
POLICIES = Policies(
    encode_routing=PolicyChoice("least_requests"),
    encode_batching=PolicyChoice("fcfs"),
    chunking=PolicyChoice("encoder_budget"),
    routing=PolicyChoice("least_requests"),
    batching=PolicyChoice("fcfs"),
)


def measured(slowness: float = 1.0) -> Steps:
    """Steps of an engine that takes `slowness` times 10 ms + 50 us a token + 0.1 us a KV token + 2 ns a pair."""
    decode = [(b, b * c, 0, 0) for b in (1, 8, 32, 64) for c in (256, 1024, 4096)]
    prefill = [(0, 0, 2**k, 0) for k in range(5, 14)]
    encode = [(0, 0, 0, t) for t in (1, 2, 5, 10)]
    decodes, context, prompt, tiles = np.array([*decode, *prefill, *encode], float).T
    tokens, pairs = decodes + prompt, prompt**2 / 2
    text = np.where(tokens > 0, 0.01 + 5e-5 * tokens + 1e-7 * context + 2e-9 * pairs, 0.0)
    seconds = slowness * (text + np.where(tiles > 0, 1e-3 + 0.02 * tiles, 0.0))
    instance = {"gpu": "NVIDIA H100 80GB HBM3", "model": MODEL, "tensor_parallel": "4", "engine": "vllm 0.12"}
    return Steps(decodes, context, prompt, pairs, tiles, seconds, "test", instance)


def written(folder: Path, slowness: float = 1.0, capacity: int = 200_000) -> str:
    path = folder / f"profile-{slowness:g}.json"
    write_profile(path, profile(fit_steps(measured(slowness)), capacity, 40.0))
    return str(path)


def simulated(pools: tuple[Pool, ...]) -> Any:
    arrival = np.arange(0, 200, 10, dtype=np.float64)  # each alone on the instance
    counts = [np.array(each, np.int32) for each in ([0, 1] * 10, [300, 1500] * 10, [20, 40] * 10)]
    trace = Trace(arrival, counts[0], counts[1], counts[2], image_count="raw")
    simulation = Simulation(trace, Configuration("test", Cluster(MODEL, GPU, pools), POLICIES), OBJECTIVES)
    simulation.run_until()
    return result_of(simulation)


def test_a_simulation_runs_on_a_profile_and_an_engine_twice_as_slow_answers_later(tmp_path: Path) -> None:
    fast, slow = (simulated((Pool("EPD", 1, 4, profile=written(tmp_path, each)),)) for each in (1.0, 2.0))
    assert slow.ttft_s == pytest.approx(2 * fast.ttft_s, rel=0.01)
    alone = 0.01 + 5e-5 * 300 + 2e-9 * 300**2 / 2
    assert fast.ttft_s[0] == pytest.approx(alone, rel=0.01)


def test_each_pool_takes_the_stages_that_it_has(tmp_path: Path) -> None:
    path = Path(written(tmp_path))
    encoder, llm = (instance_costs(path, MODEL, GPU, 4, encode, not encode) for encode in (True, False))
    assert (encoder.kv_capacity_tokens, encoder.record["step_s"]) == (0, 0)
    assert encoder.record["encode_s_per_tile"] == pytest.approx(0.02, rel=0.01)
    assert (llm.kv_capacity_tokens, llm.record["encode_s_per_tile"]) == (200_000, 0)
    assert llm.load_s == 40.0


def test_a_pool_with_a_profile_is_told_by_its_name_and_others_keep_the_roofline(tmp_path: Path) -> None:
    measured_pool = Pool("PD", 1, 4, profile=written(tmp_path))
    cluster = Cluster(MODEL, GPU, (Pool("E", 2, 1), measured_pool))
    assert "1 x PD TP-4 (vllm, profile-1.json)" in cluster.describe()
    assert cluster.costs(measured_pool).source.startswith("profile profile-1.json: test")
    assert cluster.costs(cluster.pools[0]).source.startswith("roofline of ")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("Qwen3-VL-8B", GPU, 4), r"profile-1\.json: measured with model InternVL2\.5-26B, not Qwen3-VL-8B"),
        ((MODEL, "A100-80GB", 4), "measured with gpu NVIDIA H100 80GB HBM3, not A100-80GB"),
        ((MODEL, GPU, 8), "measured with tensor_parallel 4, not 8"),
    ],
)
def test_a_profile_of_another_instance_is_refused(tmp_path: Path, arguments: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        instance_costs(Path(written(tmp_path)), *arguments)


def test_an_llm_without_kv_capacity_is_refused(tmp_path: Path) -> None:
    path = Path(written(tmp_path, capacity=0))
    assert instance_costs(path, MODEL, GPU, 4, llm=False).kv_capacity_tokens == 0
    with pytest.raises(InputError, match="calibrate with --kv-capacity-tokens"):
        instance_costs(path, MODEL, GPU, 4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"constants": {"encode_step": 1e-3, "encode_tile": 1e-2}}, "no prefill and decode steps were measured"),
        ({"constants": {"step": 1e-3, "encode_step": 0.1, "encode_tile": 0.1}}, "constant slope is missing"),
        ({"constants": {"encode_step": float("inf"), "encode_tile": 0.1}}, "constant encode_step is unknown or not"),
        ({"constants": {}}, "no constants"),
        ({"load_s": -1}, "kv_capacity_tokens and load_s must be 0 or more and finite, not 200000 and -1"),
        ({"kv_capacity_tokens": "many"}, "is not a latency profile"),
        ({"format": "slackwise-latency/9"}, "format is 'slackwise-latency/9'"),
    ],
)
def test_a_profile_that_lacks_what_an_instance_needs_is_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = Path(written(tmp_path))
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    with pytest.raises(InputError, match=reason):
        instance_costs(path, MODEL, GPU, 4)


def test_what_a_profile_does_not_say_is_not_checked(tmp_path: Path) -> None:
    path = Path(written(tmp_path))
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["instance"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert instance_costs(path, "Qwen3-VL-8B", "H200", 1).kv_capacity_tokens == 200_000


@pytest.mark.parametrize(
    ("said", "gpu", "same"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100-80GB", True),
        ("A100", "A100-80GB", True),
        ("NVIDIA A100-SXM4-40GB", "A100-80GB", False),
        ("NVIDIA H200", "H200", True),
        ("NVIDIA H200", "H100", False),
        ("CPU x86_64", "H100", False),
    ],
)
def test_names_of_drivers_mean_the_gpus_of_the_catalogue(said: str, gpu: str, same: bool) -> None:
    assert same_gpu(said, gpu) is same


def test_a_roofline_and_a_profile_of_it_agree() -> None:
    """What the roofline predicts, measured without error and fitted, is predicted again within a few percent."""
    costs, steps = roofline(load_model(MODEL), load_gpu(GPU), 4), measured()
    columns = zip(steps.tokens, steps.context_tokens, steps.pairs, steps.tiles, strict=True)
    seconds = [seconds_of(costs, int(tokens), context, pairs, int(tiles)) for tokens, context, pairs, tiles in columns]
    assert np.abs(fit_steps(replace(steps, seconds=np.array(seconds))).errors).max() < 0.1
