"""Suites: the same service in conditions that it was not tuned for. Whoever wins must not pay for it there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from slackwise.latency.perturb import CONSTANTS
from slackwise.simulator import Configuration
from slackwise.simulator.faults import CRASH, Fault
from slackwise.traces import Trace, scale_image_share, scale_rate
from slackwise.tuning.robustness import moved

LOADS = (0.8, 1.2)
SHARE_POINTS = 0.2
BURST_EVERY_S, BURST_S, BURST_FACTOR = 900.0, 60.0, 3.0
SLOWER = 1.25
ESTIMATES = 0.3
LATENCY = 0.15
STALE_S = 2.0
CRASH_S = 120.0


@dataclass(frozen=True)
class Suite:
    """A condition. Objectives stay as they are unless `own_objectives`: then they move with the latency constants."""

    group: str  # what a column of the table is about
    name: str
    trace: Callable[[Trace, int], Trace] = lambda trace, seed: trace
    configuration: Callable[[Configuration, Trace], Configuration] = lambda configuration, trace: configuration
    own_objectives: bool = False


def suites() -> tuple[Suite, ...]:
    """All of them: load, image share, bursts, a slower GPU, wrong estimates, wrong latencies, stale state, a crash."""
    return (
        *(Suite("load", f"load x {factor:g}", _load(factor)) for factor in LOADS),
        *(Suite("image share", f"image share {by:+.0%}", _share(by)) for by in (-SHARE_POINTS, SHARE_POINTS)),
        Suite("burst", f"{BURST_S:g} s at {BURST_FACTOR:g} times the rate every {BURST_EVERY_S:g} s", burst),
        Suite("slower GPU", f"all latencies x {SLOWER:g}", configuration=_slower),
        *(Suite("estimates", f"estimates {by:+.0%}", configuration=_biased(by)) for by in (-ESTIMATES, ESTIMATES)),
        Suite("estimates", f"estimates off by {ESTIMATES:.0%} at random", configuration=_uncertain),
        *(
            Suite("latency", f"{constant} x {factor:g}", configuration=_moved(constant, factor), own_objectives=True)
            for constant in CONSTANTS
            for factor in (1.0 - LATENCY, 1.0 + LATENCY)
        ),
        Suite("stale state", f"routers see the state of {STALE_S:g} s ago", configuration=_stale),
        Suite("crash", f"an LLM instance is down for {CRASH_S:g} s", configuration=_crashed),
    )


def burst(trace: Trace, seed: int) -> Trace:
    """The trace with minutes at several times its rate: requests of copies of it, shifted, come in these minutes."""
    dense = scale_rate(trace, BURST_FACTOR, seed)
    parts = [each.take(inside) for each, inside in ((trace, ~_inside(trace)), (dense, _inside(dense)))]
    columns = ("arrival_s", "recorded_images", "context_tokens", "output_tokens")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    order = np.argsort(joined["arrival_s"], kind="stable")
    return replace(trace, **{name: column[order] for name, column in joined.items()})


def _inside(trace: Trace) -> np.ndarray:
    """Whether each request arrives in a burst, which ends each stretch of BURST_EVERY_S."""
    return np.asarray(np.mod(trace.arrival_s, BURST_EVERY_S) >= BURST_EVERY_S - BURST_S)


def _load(factor: float) -> Callable[[Trace, int], Trace]:
    return lambda trace, seed: scale_rate(trace, factor, seed)


def _share(by: float) -> Callable[[Trace, int], Trace]:
    def change(trace: Trace, seed: int) -> Trace:
        share = float(np.clip((trace.images > 0).mean() + by, 0.02, 0.98))
        fewer = scale_image_share(trace, share, seed)
        return scale_rate(fewer, len(trace) / len(fewer), seed)  # the share changes, the rate stays

    return change


def _slower(configuration: Configuration, trace: Trace) -> Configuration:
    for constant in CONSTANTS:
        configuration = moved(configuration, constant, SLOWER)
    return configuration


def _moved(constant: str, factor: float) -> Callable[[Configuration, Trace], Configuration]:
    return lambda configuration, trace: moved(configuration, constant, factor)


def _biased(by: float) -> Callable[[Configuration, Trace], Configuration]:
    def change(configuration: Configuration, trace: Trace) -> Configuration:
        return replace(configuration, faults=replace(configuration.faults, estimate_bias=math.log(1.0 + by)))

    return change


def _uncertain(configuration: Configuration, trace: Trace) -> Configuration:
    return replace(configuration, faults=replace(configuration.faults, estimate_sigma=math.log(1.0 + ESTIMATES)))


def _stale(configuration: Configuration, trace: Trace) -> Configuration:
    return replace(configuration, faults=replace(configuration.faults, metrics_every_s=STALE_S))


def _crashed(configuration: Configuration, trace: Trace) -> Configuration:
    """The last instance of the cluster, which holds an LLM, crashes in the middle of the trace."""
    last = sum(pool.instances for pool in configuration.cluster.pools) - 1
    middle_s = float(trace.arrival_s[0]) + 0.5 * trace.span_s
    listed = (*configuration.faults.listed, Fault(middle_s, last, CRASH, CRASH_S))
    return replace(configuration, faults=replace(configuration.faults, listed=listed))
