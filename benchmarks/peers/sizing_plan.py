"""Fleet plans of AIConfigurator and of slackwise in one form, and what they do with the same arrivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.simulator import Cluster, Configuration, Pool
from slackwise.solver.measure import plan_policies
from slackwise.solver.replay import serve
from slackwise.solver.request import PlanRequest
from slackwise.solver.study import PlanStudy
from slackwise.traces import Trace

QUANTILES = (0.5, 0.9, 0.99)
MOST_REPLICAS = 16
"""Times its replicas that a plan is enlarged to."""


@dataclass(frozen=True)
class Plan:
    """So many replicas of these pools; the pools are of one replica."""

    way: str
    replicas: int
    pools: tuple[Pool, ...]

    @property
    def gpus(self) -> int:
        """GPUs of the fleet."""
        return self.replicas * sum(pool.gpus for pool in self.pools)

    def fleet(self, profiles: Mapping[int, str] | None = None) -> tuple[Pool, ...]:
        """The pools of all replicas, on latency profiles by tensor parallelism if given, else on the roofline.

        Raises InputError if there is no profile of a pool's size.
        """
        whole = [replace(pool, instances=self.replicas * pool.instances) for pool in self.pools]
        if profiles is None:
            return tuple(whole)
        missing = sorted({pool.tensor_parallel for pool in whole} - profiles.keys())
        if missing:
            raise InputError(f"no step times of TP-{missing[0]}, which the plan {self.way} needs")
        return tuple(replace(pool, profile=profiles[pool.tensor_parallel]) for pool in whole)

    def describe(self) -> str:
        """Instances of the whole fleet: "2 x EPD TP-1"."""
        return ", ".join(f"{pool.instances} x {pool.stages} TP-{pool.tensor_parallel}" for pool in self.fleet())


def read_plan(answer: Mapping[str, Any]) -> Plan:
    """A plan of the worker's answer. Raises InputError if it is none."""
    try:
        pools = tuple(_pool(str(p["stages"]), int(p["instances"]), int(p["tensor_parallel"])) for p in answer["pools"])
        plan = Plan(str(answer["way"]), int(answer["replicas"]), pools)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the answer holds no plan: {type(error).__name__} {error}") from None
    if plan.replicas < 1 or not pools:
        raise InputError(f"the plan {plan.way} has {plan.replicas} replicas of {len(pools)} pools")
    return plan


def solved_plan(study: PlanStudy) -> Plan:
    """The plan of a study of one window."""
    ready, kinds = study.plan.ready, study.data.kinds
    if len(ready) != 1:
        raise InputError(f"a fleet that does not change has one window, not {len(ready)}")
    counts = ready[0].tolist()
    pools = tuple(_pool(kind.stages, n, kind.tensor_parallel) for kind, n in zip(kinds, counts, strict=True) if n)
    return Plan(study.plan.option.topology, 1, pools)


def _pool(stages: str, instances: int, tensor_parallel: int) -> Pool:
    return Pool(stages, instances, tensor_parallel, "transformers" if stages == "E" else "vllm")


def simulated(
    plan: Plan, trace: Trace, request: PlanRequest, profiles: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """What the plan attains: requests within both objectives, quantiles of TTFT and mean TBT in seconds, GPUs.

    A quantile that falls on a request which was never served is None.
    """
    cluster = Cluster(request.model, request.gpu, plan.fleet(profiles))
    policies = plan_policies(request.model, request.gpu, cluster.topology == "monolith")
    result = serve(trace, Configuration("plan", cluster, policies), request)
    return {
        "fleet": plan.describe(),
        "gpus": plan.gpus,
        "attainment": round(float(result.met.mean()), 4),
        "ttft_s": _quantiles(result.ttft_s),
        "tbt_s": _quantiles(result.tbt_s),
    }


def enough(
    plan: Plan, trace: Trace, request: PlanRequest, profiles: Mapping[int, str] | None = None
) -> dict[str, Any] | None:
    """The same plan with the fewest replicas that meet the target, tried one by one; None if none does."""
    for replicas in range(1, MOST_REPLICAS * plan.replicas + 1):
        found = simulated(replace(plan, replicas=replicas), trace, request, profiles)
        if found["attainment"] >= request.target:
            return found
    return None


def _quantiles(values: NDArray[np.float64]) -> list[float | None]:
    found: Sequence[float] = np.quantile(values, QUANTILES, method="higher").tolist()
    return [round(each, 4) if np.isfinite(each) else None for each in found]
