"""The clairvoyant fluid LP of provisioning: GPU-seconds that no autoscaler can go below.

It knows every arrival, rents fractions of GPUs, puts every piece of work on the kind of instance that does it with the
fewest GPU-seconds, and pays for starts only what the rise of its fleet takes, none for the fleet that it begins with.
What it cannot do: work before an arrival, spend fewer GPU-seconds than work.py proves necessary, or leave the first
tokens of more requests undone at their due times than the run that it is compared with.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.policies.features import DECODE, ENCODE, KINDS, PREFILL
from slackwise.simulator import Simulation
from slackwise.solver.backend import mathopt, solve
from slackwise.solver.result import Limits
from slackwise.solver.work import check_plain, least_work

BIN_S = 60.0

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class FluidBound:
    """The bound and what it is made of."""

    gpu_s: float  # of all GPUs, ready or starting
    work_gpu_s: float  # of it, work alone: nothing starts, nothing waits
    bins: int


def fluid_bound(runs: Sequence[Simulation], attained: float = 1.0, bin_s: float = BIN_S) -> FluidBound:
    """The fewest GPU-seconds of any run that serves all requests of `runs`, none of which has begun.

    Each run is the same trace on another fleet that is allowed; of its pools only the kinds count. `attained` is the
    share of requests whose first token is within its objective. An instance of any of the kinds may do any stage that
    it can, at its price: least over kinds of GPUs x seconds, stage by stage. Raises InputError for a share outside 0
    to 1, or if a run may reuse earlier work or has faults.
    """
    for run in runs:
        check_plain(run)
    if not 0.0 <= attained <= 1.0:
        raise InputError(f"attained is {attained:g}: it must be from 0 to 1")
    requests = runs[0].state.requests
    arrival, due = np.array(requests.arrival_s, float), np.array(requests.deadline_s, float)
    urgent, later, start_s = _gpu_seconds(runs)
    begin, end = float(arrival.min()), float(max(due.max(), arrival.max()))
    bins = int((end - begin) // bin_s) + 2
    place = [((times - begin) // bin_s).astype(np.int64) for times in (arrival, due)]
    arrived = np.cumsum(np.bincount(place[0], urgent + later, bins).astype(np.float64))
    allowed = int(np.floor((1.0 - attained) * len(due) + 1e-9))
    wanted = np.cumsum(np.bincount(place[1], urgent, bins)) - _spared(place[1], urgent, allowed, bins)
    work = float((urgent + later).sum())
    return FluidBound(max(_solved(arrived, np.maximum(0.0, wanted), start_s, bin_s), work), work, bins)


def _gpu_seconds(runs: Sequence[Simulation]) -> tuple[Seconds, Seconds, float]:
    """(GPU-seconds before the first token, after it, the least start-up seconds), each the least over kinds."""
    best = {bit: np.full(len(runs[0].state.requests), np.inf) for bit in (ENCODE, PREFILL, DECODE)}
    starts = []
    for run in runs:
        for at, pool in enumerate(run.configuration.cluster.pools):
            work = least_work(run.state.requests, run.state.progress, run.state.costs[at], run.state.pools[at])
            asked = run.configuration.provisioning.start_s
            starts.append(float(run.costs[at].load_s) if asked is None else asked)
            for bit, seconds in ((ENCODE, work.encode_s), (PREFILL, work.prefill_s), (DECODE, work.decode_s)):
                if KINDS[pool.stages] & bit:
                    best[bit] = np.minimum(best[bit], pool.tensor_parallel * seconds)
    return best[ENCODE] + best[PREFILL], best[DECODE], min(starts)


def _spared(place: NDArray[np.int64], work: Seconds, allowed: int, bins: int) -> Seconds:
    """The most work that `allowed` requests may leave undone at the end of each bin: the largest due by then."""
    found, largest, total = np.zeros(bins), list[float](), 0.0
    order = np.argsort(place, kind="stable")
    edges = np.searchsorted(place[order], np.arange(bins), side="right")
    since = 0
    for at, until in enumerate(edges.tolist()):
        for each in work[order[since:until]].tolist() if allowed else ():
            heapq.heappush(largest, each)
            total += each - (heapq.heappop(largest) if len(largest) > allowed else 0.0)
        found[at], since = total, until
    return found


def _solved(arrived: Seconds, wanted: Seconds, start_s: float, bin_s: float) -> float:
    """min bin_s sum N + start_s sum rise; done within [wanted, arrived] at the end of each bin, at most bin_s N in it.

    The last bin stands for all time after the last due: what is done there needs no rise.
    """
    model = mathopt().Model(name="clairvoyant fluid")
    last = len(arrived) - 1
    low = np.where(np.arange(len(arrived)) == last, arrived, np.minimum(wanted, arrived))
    done = [
        model.add_variable(lb=float(least), ub=float(most), name=f"done by the end of bin {at}")
        for at, (least, most) in enumerate(zip(low, arrived, strict=True))
    ]
    gpus = [model.add_variable(lb=0.0, name=f"GPUs in bin {at}") for at in range(last + 1)]
    rise = [model.add_variable(lb=0.0, name=f"GPUs started for bin {at}") for at in range(1, last)]
    model.add_linear_constraint(done[0] <= bin_s * gpus[0], name="work of bin 0")
    for at in range(1, last + 1):
        model.add_linear_constraint(done[at] >= done[at - 1], name=f"nothing undone in bin {at}")
        model.add_linear_constraint(done[at] - done[at - 1] <= bin_s * gpus[at], name=f"work of bin {at}")
    for at in range(1, last):
        model.add_linear_constraint(rise[at - 1] >= gpus[at] - gpus[at - 1], name=f"starts for bin {at}")
    model.minimize(bin_s * sum(gpus) + start_s * sum(rise))
    return float(solve(model, Limits(gap=0.0)).bound)
