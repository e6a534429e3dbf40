"""What one instance of each pool serves within the objectives: M_s, found by simulation, as ModServe's profile.

ModServe (2025, 4.1 and 4.2) sizes a pool by the highest tokens/s that keeps the objectives, profiled offline. Here a
pool of one instance stands beside ample others and serves the calibrated mix of the synthetic week as a Poisson stream;
the rate is bisected until attainment falls below SHARE. Queueing is in the figure, pooling is not.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from slackwise.policies.bundle import Policies
from slackwise.policies.features import DECODE, ENCODE, KINDS, PREFILL
from slackwise.simulator.cluster import Cluster
from slackwise.simulator.configuration import Configuration
from slackwise.simulator.objectives import Objectives
from slackwise.simulator.provisioning import Provisioning
from slackwise.streams import stream
from slackwise.traces import Trace, synthesize

SHARE = 0.99
"""Attainment that has to be kept, in parts of that at hardly any load."""

REQUESTS, AMPLE, SEED = 1000, 8, 0
"""Requests of a profile run; instances of each pool that is not profiled; seed of the mix and of the arrivals."""

LOWEST_RPS, HIGHEST_RPS, STEPS = 1e-2, 1e3, 14
"""Rates between which is searched, and halvings of their logarithm: to 0.07 %."""


def service_rates(configuration: Configuration, objectives: Objectives) -> tuple[float, ...]:
    """[M_s] of each pool in tokens/s, in the unit of PoolView.load_tokens_per_s; computed once a process."""
    return _service_rates(configuration.cluster, json.dumps(configuration.policies.to_dict()), objectives)


@lru_cache(maxsize=256)
def _service_rates(cluster: Cluster, policies: str, objectives: Objectives) -> tuple[float, ...]:
    document = json.loads(policies) | {"provisioning": {"name": "fixed_ratio"}}
    chosen = Policies.from_dict(document, modules=True)
    return tuple(_service_rate(cluster, chosen, objectives, at) for at in range(len(cluster.pools)))


def _service_rate(cluster: Cluster, policies: Policies, objectives: Objectives, pool: int) -> float:
    """M_s of one pool."""
    counts = [1 if at == pool else AMPLE for at in range(len(cluster.pools))]
    sized = [replace(each, instances=count, most=None) for each, count in zip(cluster.pools, counts, strict=True)]
    alone = replace(cluster, pools=tuple(sized), servers=None, placement="packed")
    configuration = Configuration("profile", alone, policies, Provisioning())
    mix, spacing = synthesize(SEED, rows=REQUESTS), stream(SEED, "service rates").exponential(1.0, REQUESTS)

    def attained(rate_rps: float) -> tuple[float, float]:
        return _attained(mix, np.cumsum(spacing / rate_rps), configuration, objectives, pool)

    needed, tokens = attained(LOWEST_RPS)
    low, high = LOWEST_RPS, HIGHEST_RPS
    for _ in range(STEPS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if attained(middle)[0] >= SHARE * needed else (low, middle)
    return low * tokens


def _attained(
    mix: Trace, arrival_s: NDArray[np.float64], configuration: Configuration, objectives: Objectives, pool: int
) -> tuple[float, float]:
    """Attainment at these arrivals, and the load that a request is on average for the pool, in tokens."""
    from slackwise.simulator.result import result_of
    from slackwise.simulator.simulation import Simulation

    simulation = Simulation(replace(mix, arrival_s=arrival_s[: len(mix)]), configuration, objectives, SEED)
    requests, bits = simulation.state.requests, KINDS[configuration.cluster.pools[pool].stages]
    inside = bool(simulation.state.progress.sequence_tokens_per_image.max() > 0)
    tokens = 0.0
    if bits & ENCODE or (bits & PREFILL and inside):
        tokens += float(requests.image_tokens.mean())
    if bits & PREFILL:
        tokens += float(requests.text_tokens.mean())
    elif bits & DECODE:
        tokens += float(requests.output_estimate_tokens.mean())
    simulation.run_until()
    return float(result_of(simulation).met.mean()), tokens
