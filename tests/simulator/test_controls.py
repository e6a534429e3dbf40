"""Policies that are bad on purpose are worse: a simulator that cannot tell is broken."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.simulator import Cluster, Objectives, simulate
from slackwise.traces import Trace
from tests.simulator.cases import DECODER_ONLY, OBJECTIVES, apart, configuration, monolith, trace_of

SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def poisson(seed: int, rate_rps: float, count: int = 400) -> Trace:
    """Random requests, two in five with images."""
    generator = np.random.default_rng(seed)
    arrival = np.cumsum(generator.exponential(1 / rate_rps, count))
    images = np.where(generator.random(count) < 0.4, generator.integers(1, 6, count), 0)
    context, output = generator.integers(50, 3000, count), generator.integers(1, 60, count)
    return trace_of(list(zip(arrival, images, context, output, strict=True)))


def ttft_s(trace: Trace, cluster: Cluster, **names: str) -> float:
    """Mean TTFT."""
    return float(simulate(trace, configuration(cluster, **names), OBJECTIVES).ttft_s.mean())


@SEEDS
@pytest.mark.parametrize("good", ["least_requests", "least_total_tokens", "predicted_completion", "round_robin"])
def test_routing_to_the_busiest_instance_is_worse(good: str, seed: int) -> None:
    trace, cluster = poisson(seed, rate_rps=8.0), monolith(instances=4)
    assert ttft_s(trace, cluster, routing="busiest_instance") > 2 * ttft_s(trace, cluster, routing=good)


@SEEDS
def test_routing_images_to_the_busiest_encoder_is_worse(seed: int) -> None:
    trace, cluster = poisson(seed, rate_rps=6.0), apart(DECODER_ONLY, encoders=6, llms=2)
    bad, good = (
        ttft_s(trace, cluster, encode_routing=name, chunking="per_image")
        for name in ("busiest_instance", "least_image_tokens")
    )
    assert bad > 2 * good


@SEEDS
def test_serving_whoever_has_most_slack_meets_fewer_objectives_and_has_a_longer_tail(seed: int) -> None:
    objectives = Objectives(text_ttft_s=1.0, image_ttft_s=4.0, text_tbt_s=1.0, image_tbt_s=1.0)
    good, bad = (
        simulate(poisson(seed, rate_rps=2.0), configuration(monolith(DECODER_ONLY), batching=name), objectives)
        for name in ("least_slack", "reverse_slack")
    )
    assert good.met.mean() > 0.8  # under lasting overload nothing can be said: whoever is late may as well be given up
    assert bad.met.mean() < good.met.mean() - 0.05
    assert np.quantile(bad.ttft_s, 0.99) > 1.5 * np.quantile(good.ttft_s, 0.99)


@SEEDS
def test_fanning_images_out_encodes_them_sooner_when_encoders_are_idle(seed: int) -> None:
    trace, cluster = poisson(seed, rate_rps=0.5), apart(DECODER_ONLY, encoders=6, llms=1)
    assert ttft_s(trace, cluster, chunking="per_image") < ttft_s(trace, cluster, chunking="none")
