"""A plan, or a configuration, served in the simulator: what it attains, and the GPU-seconds that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slackwise.policies.provisioning.pool import Memory, PoolView
from slackwise.policies.provisioning.pool import Plan as Targets
from slackwise.simulator import Cluster, Configuration, Objectives, Pool, Result, Simulation, result_of
from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.simulator.provisioning import Provisioning
from slackwise.solver.measure import plan_policies, set_batches
from slackwise.solver.study import PlanStudy
from slackwise.traces import Trace

LOOKS = 5
"""Times in a window that the fleet is looked at."""


@dataclass(frozen=True)
class Replayed:
    """What a run came to."""

    attainment: float  # share of requests within both objectives
    ttft_attainment: float
    gpu_s: float
    ttft_p99_s: float | None
    requests: int

    @classmethod
    def of(cls, result: Result) -> Replayed:
        """From the result of a run."""
        slowest = float(np.quantile(result.ttft_s, 0.99, method="higher"))
        return cls(
            float(result.met.mean()),
            float((result.ttft_s <= result.ttft_objective_s).mean()),
            result.gpu_s,
            slowest if np.isfinite(slowest) else None,
            len(result.ttft_s),
        )

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def replay(study: PlanStudy, trace: Trace) -> tuple[Configuration, Result]:
    """Serve `trace` with the plan of a study, window by window from the first arrival on, again from its beginning
    when it is over.

    Orders are given a start-up time ahead. Every kind of the plan has at least one instance all the time, as a pool of
    the simulator cannot be empty: where the plan has none, this is dearer than the plan.
    """
    data, ready = study.data, study.plan.ready
    used = [at for name in TOPOLOGIES[study.plan.option.topology] for at in data.classes[name] if ready[:, at].any()]
    kinds = [data.kinds[at] for at in used]
    counts = np.maximum(1, ready[:, used])
    pools = tuple(
        Pool(kind.stages, int(counts[0, at]), kind.tensor_parallel, _engine(kind.stages), most=int(counts[:, at].max()))
        for at, kind in enumerate(kinds)
    )
    gpus = sum(pool.ceiling * pool.tensor_parallel for pool in pools)
    policies = plan_policies(study.request.model, study.request.gpu, study.plan.option.topology == "monolith")
    configuration = Configuration(
        "plan",
        Cluster(study.request.model, study.request.gpu, pools),
        policies,
        Provisioning(interval_s=data.window_s / LOOKS, gpu_cap=gpus),
    )
    first_s = float(np.floor(trace.arrival_s[0] / data.window_s)) * data.window_s
    ahead_s = max(kind.start_s for kind in kinds) + data.window_s / LOOKS

    def targets(views: Sequence[PoolView], now: float, memory: Memory) -> Targets:
        now_at, soon_at = (int((when - first_s) // data.window_s) % len(counts) for when in (now, now + ahead_s))
        return Targets(tuple(np.maximum(counts[now_at], counts[soon_at]).tolist()))

    run = Simulation(trace, configuration, study.request.objectives(), study.request.seed, provisioner=targets)
    set_batches(run, kinds)
    run.run_until()
    return configuration, result_of(run)


def serve(trace: Trace, configuration: Configuration, objectives: Objectives, seed: int) -> Result:
    """Serve `trace` with a configuration."""
    run = Simulation(trace, configuration, objectives, seed)
    run.run_until()
    return result_of(run)


def _engine(stages: str) -> str:
    return "transformers" if stages == "E" else "vllm"
