"""What is known of a run on the way: how long requests have waited, and who has missed an objective whatever comes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator import Simulation
from slackwise.simulator.state import CLASSES
from slackwise.tuning.estimates import ALL


def waited_s(simulation: Simulation, until_s: float) -> NDArray[np.float64]:
    """Seconds from arrival to the first token, or to `until_s` if it is not out; negative for whoever is to come."""
    waited: NDArray[np.float64] = _first_s(simulation, until_s) - simulation.workload.requests.arrival_s
    return waited


def missed(simulation: Simulation, until_s: float) -> NDArray[np.bool_]:
    """Who has missed an objective by `until_s`, of TTFT or of TBT: a mean over all gaps is at least that of these."""
    requests, progress = simulation.workload.requests, simulation.workload.progress
    first_s = _first_s(simulation, until_s)
    last_s = np.where(np.isnan(progress.finish_s), until_s, progress.finish_s)
    tbt_s = (last_s - first_s) / np.maximum(1, progress.output_tokens - 1)
    slow: NDArray[np.bool_] = tbt_s > simulation.objectives.tbt_s(requests.images)
    late: NDArray[np.bool_] = first_s > requests.deadline_s
    return late | slow


def of_class(simulation: Simulation, category: str) -> NDArray[np.bool_]:
    """The requests of a class, or all."""
    found: NDArray[np.int32] = simulation.workload.progress.category
    return np.ones(len(found), bool) if category == ALL else found == CLASSES.index(category)


def _first_s(simulation: Simulation, until_s: float) -> NDArray[np.float64]:
    first_s: NDArray[np.float64] = simulation.workload.progress.first_token_s
    return np.where(np.isnan(first_s), until_s, first_s)
