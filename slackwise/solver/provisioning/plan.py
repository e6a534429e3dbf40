"""A fleet plan: how many instances of each kind are ready in each window, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.solver.provisioning.data import Option, PlanData


@dataclass(frozen=True)
class Plan:
    """`ready[w, k]` instances of kind k whose capacity counts in window w; everything else follows from it."""

    option: Option
    ready: NDArray[np.int64]  # (W, K)

    def starts(self, data: PlanData) -> NDArray[np.int64]:
        """Instances that become ready in each window, (W, K); those of a free beginning are none."""
        before = self.ready[0] if data.initial is None else _initial(data)
        return np.maximum(0, np.diff(self.ready, axis=0, prepend=before[None, :]))

    def terms(self, data: PlanData) -> dict[str, float]:
        """The objective by term, in GPU-seconds of the cheapest GPU type: serving, starting, switching."""
        return plan_terms(data, self.ready, self.starts(data))

    def cost(self, data: PlanData) -> float:
        """The objective."""
        return sum(self.terms(data).values())

    def gpus(self, data: PlanData) -> NDArray[np.int64]:
        """GPUs whose capacity counts in each window, (W,)."""
        return np.asarray(self.ready @ np.array([kind.tensor_parallel for kind in data.kinds]))

    def starting_gpu_s(self, data: PlanData) -> float:
        """GPU-seconds of all GPU types while they start."""
        each = np.array([kind.tensor_parallel * kind.start_s for kind in data.kinds])
        return float(self.starts(data).sum(axis=0) @ each)

    def to_json(self, data: PlanData) -> dict[str, Any]:
        """For JSON: the split, the counts of the kinds that are ever used."""
        used = np.flatnonzero(self.ready.any(axis=0))
        return {
            "topology": self.option.topology,
            "split": {name: data.levels[name][level] for name, level in self.option.levels.items()},
            "window_s": data.window_s,
            "kinds": [data.kinds[at].name for at in used],
            "ready": self.ready[:, used].tolist(),
            "starts": self.starts(data)[:, used].tolist(),
            "terms_gpu_s": self.terms(data),
        }


def plan_terms(data: PlanData, ready: Any, start: Any) -> dict[str, float]:
    """The objective by term for counts of shape (W, K)."""
    serving, starting, switching = prices(data)
    return {
        "serving": float(ready.sum(axis=0) @ serving),
        "starting": float(start.sum(axis=0) @ starting),
        "switching": float(start.sum(axis=0) @ switching),
    }


def prices(data: PlanData) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Prices of an instance that serves for a window, of its start-up time, and of switching it on, each (K,)."""
    cost = np.array([kind.cost for kind in data.kinds])
    start_s = np.array([kind.start_s for kind in data.kinds])
    return cost * data.window_s, cost * start_s, cost * data.terms.switch_gpu_s


def _initial(data: PlanData) -> NDArray[np.int64]:
    initial = data.initial or {}
    return np.array([initial.get(at, 0) for at in range(len(data.kinds))], np.int64)
