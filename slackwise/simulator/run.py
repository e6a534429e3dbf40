"""Simulate a trace in one call."""

from __future__ import annotations

import math

from slackwise.simulator.configuration import Configuration
from slackwise.simulator.objectives import Objectives
from slackwise.simulator.result import Result, result_of
from slackwise.simulator.simulation import Simulation
from slackwise.traces import Trace


def simulate(
    trace: Trace,
    configuration: Configuration,
    objectives: Objectives,
    seed: int = 0,
    image_context: str = "subtract",
    drain_limit_s: float = math.inf,
    warm_up_s: float = 0.0,
) -> Result:
    """Serve `trace` with `configuration` to the end and judge it by `objectives`; the same seed gives the same bytes.

    The run is ended `drain_limit_s` after the last arrival, whatever is left: see `Result.verdict`. What arrives in the
    first `warm_up_s` seconds is served but not judged. Raises InputError if the trace is empty, the model does not fit
    its GPUs, nothing fits the KV cache, or the warm-up lasts beyond the last arrival.
    """
    simulation = Simulation(trace, configuration, objectives, seed, image_context)
    if warm_up_s:
        simulation.warm_up(warm_up_s)
    simulation.run_until(simulation.arrival_s[-1] + drain_limit_s)
    return result_of(simulation)
