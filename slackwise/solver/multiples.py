"""Every run's GPU-seconds as a multiple of what no autoscaler can go below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slackwise.simulator import Configuration, Objectives, Result, Simulation
from slackwise.simulator.state import REJECTED
from slackwise.solver.fluid import fluid_bound
from slackwise.traces import Trace


@dataclass(frozen=True)
class Multiple:
    """A run beside the bound for its own attainment of TTFT."""

    gpu_s: float
    bound_gpu_s: float
    attained: float  # share of requests whose first token is in time

    @property
    def times(self) -> float:
        """GPU-seconds over the bound."""
        return self.gpu_s / self.bound_gpu_s

    def describe(self) -> str:
        """One line."""
        return (
            f"{self.gpu_s / 3600:,.2f} GPU-hours, {self.times:.2f} times the fluid bound of "
            f"{self.bound_gpu_s / 3600:,.2f} at {self.attained:.2%} of first tokens in time"
        )

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "gpu_s": self.gpu_s,
            "bound_gpu_s": self.bound_gpu_s,
            "ttft_attained": self.attained,
            "times": self.times,
        }


def multiples(
    trace: Trace, runs: Sequence[tuple[Configuration, Result]], objectives: Objectives, seed: int = 0
) -> Mapping[str, Multiple | None]:
    """Name of the configuration -> its multiple; None if requests failed on the way, as the bound serves them all.

    The bound may use the kinds of instances of all of these configurations. Raises InputError if one of them reuses
    earlier work.

    What is in time is judged alike for all runs, by the first one's requests: the due times of the bound.
    """
    fresh = [Simulation(trace, configuration, objectives, seed) for configuration, _ in runs]
    requests, kept = fresh[0].state.requests, ~fresh[0].rejected
    within_s = np.array(requests.deadline_s - requests.arrival_s, float)
    found: dict[str, Multiple | None] = {}
    for configuration, result in runs:
        served = result.failure == 0
        if not (served | (result.failure == REJECTED)).all():
            found[configuration.name] = None
            continue
        attained = float((result.ttft_s[kept] <= within_s).mean())
        found[configuration.name] = Multiple(result.gpu_s, fluid_bound(fresh, attained).gpu_s, attained)
    return found
