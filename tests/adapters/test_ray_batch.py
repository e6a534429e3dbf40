"""Emulated instances batch as the simulator's do: the same first tokens at the same times."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from slackwise.adapters.ray.batch import Batch
from slackwise.adapters.ray.emulated import batch_of
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.sequences import Sequence, sequence_of
from slackwise.latency.model import load_model
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.winner import Winner
from slackwise.simulator import Cluster, Configuration, Pool, Simulation, isolated, preset, result_of
from slackwise.traces import Trace

GPU, MONOLITH = "A100-80GB", ENCODE | PREFILL | DECODE


def configuration_of(model: str, engine: str, width: int, *settings: str) -> Configuration:
    cluster = Cluster(model, GPU, (Pool("EPD", 1, width, engine),))
    return Configuration("test", cluster, preset("vllm", model, GPU, 4).policies.changed(settings))


def batch_for(configuration: Configuration) -> Batch:
    cluster = configuration.cluster
    document = asdict(cluster) | {"topology": cluster.topology}
    winner = Winner(configuration.policies, cluster.model, GPU, document, isolated(cluster).to_json(), {})
    return batch_of(winner, FleetPool("epd", MONOLITH, 1, cluster.pools[0].tensor_parallel, 1, 1))


def trace_of(seed: int, count: int, rate: float, images: list[int], output: int) -> Trace:
    draw = np.random.default_rng(seed)
    arrival_s = np.cumsum(draw.exponential(1.0 / rate, count))
    pictures = draw.choice(images, count).astype(np.int32)
    context = draw.integers(50, 4000, count, np.int32) + 300 * pictures
    return Trace(arrival_s, pictures, context, draw.integers(1, output, count, np.int32), "raw")


def first_tokens(batch: Batch, requests: Any, outputs: Any, model: str) -> list[float]:
    """Seconds from arrival to the first token of each request, the batch being run through all of them."""
    known, wholes = load_model(model), requests.view(np.ndarray)
    comers: list[Sequence] = [
        sequence_of(str(at), wholes[at : at + 1].copy(), MONOLITH, int(outputs[at]), known) for at in range(len(wholes))
    ]
    at, left = 0.0, list(comers)
    while left or batch.busy:
        at = at if batch.busy else max(at, left[0].order[0])
        while left and left[0].order[0] <= at:
            batch.add(left.pop(0))
        step = batch.compose(at)
        if left and left[0].order[0] < at + step.seconds:
            step.cut(left[0].order[0] - at)
        at += step.seconds
        batch.finish(step, at)
    return [each.first_s - each.order[0] for each in comers]


MIXED, TEXT = [0, 0, 0, 1, 1, 2, 5], [0]


@pytest.mark.parametrize(
    ("model", "engine", "width", "images", "output", "settings"),
    [
        ("InternVL2.5-26B", "vllm", 4, MIXED, 300, ()),
        ("InternVL2.5-26B", "vllm", 4, MIXED, 300, ("batching=least_slack", "chunking=k_images")),
        ("InternVL2.5-26B", "vllm-0.7", 4, MIXED, 300, ("batching=modality_size_priority",)),
        ("Llama-3.2-11B-Vision", "vllm", 4, MIXED, 300, ("batching=least_slack",)),
        ("InternVL2.5-26B", "vllm", 1, TEXT, 3000, ()),
    ],
)
def test_first_tokens_come_when_the_simulator_says(
    model: str, engine: str, width: int, images: list[int], output: int, settings: tuple[str, ...]
) -> None:
    configuration = configuration_of(model, engine, width, *settings)
    simulation = Simulation(trace_of(5, 120, 1.2, images, output), configuration, isolated(configuration.cluster))
    requests, outputs = simulation.state.requests.copy(), simulation.state.progress.output_tokens.copy()
    simulation.run_until(np.inf)
    result = result_of(simulation)
    assert (result.preemptions > 0) == (width == 1)
    assert np.allclose(first_tokens(batch_for(configuration), requests, outputs, model), result.ttft_s, rtol=1e-9)
