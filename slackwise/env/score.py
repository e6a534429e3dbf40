"""What an episode is worth: missed requests, every class alike, and GPU-seconds at a price. Higher is better.

    score = - mean over classes (share of the class's requests that missed an objective)
            - gpu_price * GPU-seconds / (GPU cap * seconds of the window)

A request that is rejected, dropped, or not finished when nothing is left to happen is a miss. GPU-seconds count from
the order to start an instance to its release, at the latest to the end of the window or the last finish, if that is
later. Classes count alike so that starving a small one costs as much as starving a large one. The rewards of an episode
sum to this.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator import Simulation, result_of
from slackwise.simulator.fleet import held_gpu_s
from slackwise.simulator.state import CLASSES


def class_weights(simulation: Simulation) -> NDArray[np.float64]:
    """What a miss of each class costs: 1 / (classes present * requests of the class), float64, shape (classes,)."""
    counts = np.bincount(simulation.category, minlength=len(CLASSES))
    present = counts > 0
    return np.where(present, 1.0 / (present.sum() * np.maximum(1, counts)), 0.0)


def gpu_weight(simulation: Simulation, gpu_price: float, duration_s: float) -> float:
    """What a GPU-second costs."""
    return gpu_price / (float(simulation.state.clock[0].gpu_cap) * duration_s)


def score_of(simulation: Simulation, gpu_price: float, duration_s: float) -> float:
    """The score of a run to its end, from its Result; the window is [0, duration_s)."""
    result = result_of(simulation)
    missed = float(class_weights(simulation)[result.category[~result.met]].sum())
    finish_s = float(np.max(result.arrival_s + result.end_to_end_s, initial=0.0, where=result.served))
    gpu_s = float(held_gpu_s(simulation.state, max(duration_s, finish_s)).sum())
    return -missed - gpu_weight(simulation, gpu_price, duration_s) * gpu_s
