"""Simulations that are queues of the textbook, and what the textbook says of them.

A request of one output token on an instance that takes one request at a time is a customer: its service is one prefill
step, whose seconds are made proportional to the prompt, without any fixed part. So any service times can be asked for,
to a tick of 0.1 ms.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator import Simulation
from slackwise.streams import stream
from slackwise.traces import Trace
from tests.simulator.cases import OBJECTIVES, configuration, monolith

TICK_S = 1e-4
BATCHES = 20

Seconds = NDArray[np.float64]


def queue(
    arrival_s: Seconds, service_s: Seconds, servers: int = 1, routing: str = "least_requests", batching: str = "fcfs"
) -> Simulation:
    """Customers before `servers`, run to the end; services are rounded to ticks, at least one."""
    ticks = np.maximum(1, np.rint(service_s / TICK_S)).astype(np.int32)
    trace = Trace(arrival_s, np.zeros_like(ticks), ticks, np.ones_like(ticks), image_count="raw")
    chosen = configuration(monolith(instances=servers), routing=routing, batching=batching)
    made = Simulation(trace, chosen, OBJECTIVES, image_context="keep")
    assert not made.rejected.any()
    serve_one_at_a_time(made)
    made.run_until()
    return made


def serve_one_at_a_time(made: Simulation) -> None:
    """Make a prefill step last a tick for each token of its one prompt."""
    state = made.state
    for name in ("step_s", "attention_s_per_pair", "kv_s_per_token"):
        state.costs[name] = 0.0
    state.costs.text_only_share, state.costs.linear_slope_s = 1.0, TICK_S
    state.pools.linear_s = TICK_S * np.arange(state.pools.linear_s.shape[1])
    state.pools.max_sequences, state.pools.max_step_tokens = 1, 1 << 30
    state.instances.token_budget_left = 1 << 30
    state.instances.prefill_s_per_token = TICK_S
    state.requests.prefill_estimate_s = state.progress.prefill_s = TICK_S * state.requests.prompt_tokens


def services(made: Simulation) -> Seconds:
    """Seconds of service of each customer, shape (n,)."""
    return np.asarray(TICK_S * made.state.requests.prompt_tokens, float)


def waits(made: Simulation) -> Seconds:
    """Seconds that each customer waits before its service, shape (n,)."""
    return np.asarray(made.state.progress.first_token_s - made.state.requests.arrival_s - services(made), float)


def poisson(name: str, rate: float, count: int) -> Seconds:
    """Arrivals of a Poisson process."""
    return np.cumsum(stream(0, f"{name} arrivals").exponential(1 / rate, count))


def exponential(name: str, mean_s: float, count: int) -> Seconds:
    """Exponential services."""
    return stream(0, f"{name} services").exponential(mean_s, count)


def kiefer_wolfowitz(arrival_s: Seconds, service_s: Seconds, servers: int) -> Seconds:
    """Waits of customers served in order of arrival by whoever is free first (Kiefer & Wolfowitz 1955), shape (n,).

    With one server it is Lindley's recursion (1952).
    """
    free_s, found = np.zeros(servers), np.zeros(len(arrival_s))
    for at, (now, service) in enumerate(zip(arrival_s, service_s, strict=True)):
        first = int(np.argmin(free_s))
        found[at] = max(0.0, free_s[first] - now)
        free_s[first] = now + found[at] + service
    return found


def erlang_wait_s(rate: float, mean_s: float, servers: int) -> float:
    """Mean wait of M/M/c (Erlang 1917): C(c, a) / (c / s - rate), with a = rate * s and C the chance to wait."""
    load = rate * mean_s
    idle = sum(load**each / math.factorial(each) for each in range(servers))
    full = load**servers / math.factorial(servers) / (1 - load / servers)
    return full / (idle + full) / (servers / mean_s - rate)


def general_wait_s(rate: float, service_s: Seconds) -> float:
    """Mean wait of M/G/1 in any order that looks at no service: rate E[S^2] / (2 (1 - load)) (Pollaczek 1930)."""
    return float(rate * (service_s**2).mean() / (2 * (1 - rate * service_s.mean())))


def batch_means(values: Seconds) -> tuple[float, float]:
    """(mean, its standard error) of a correlated series: BATCHES long batches whose means are nearly independent."""
    means = np.array([each.mean() for each in np.array_split(values, BATCHES)])
    return float(values.mean()), float(means.std(ddof=1) / math.sqrt(BATCHES))
