"""A plan, or a configuration, served in the simulator: what it attains, and the GPU-seconds that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.policies.provisioning.pool import Memory, PoolView
from slackwise.policies.provisioning.pool import Plan as Targets
from slackwise.simulator import Cluster, Configuration, Pool, Result, Simulation, result_of
from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.simulator.fleet import held_gpu_s
from slackwise.simulator.provisioning import Provisioning
from slackwise.solver.measure import plan_policies, reference_ttft_s, set_batches
from slackwise.solver.request import PlanRequest
from slackwise.solver.study import PlanStudy
from slackwise.traces import Trace

LOOKS = 5
"""Times in a window that the fleet is looked at."""


@dataclass(frozen=True)
class JudgedResult(Result):
    """A result by the objectives of the reference, with the mean price of its GPU-seconds."""

    price: float = 1.0


@dataclass(frozen=True)
class Replayed:
    """What a run came to."""

    attainment: float  # share of requests within both objectives
    ttft_attainment: float
    gpu_s: float
    ttft_p99_s: float | None
    requests: int
    price: float = 1.0  # of a GPU-second, the mean over the fleet

    @property
    def cost(self) -> float:
        """GPU-seconds at their prices."""
        return self.gpu_s * self.price

    @classmethod
    def of(cls, result: JudgedResult) -> Replayed:
        """From the result of a run."""
        slowest = float(np.quantile(result.ttft_s, 0.99, method="higher"))
        return cls(
            float(result.met.mean()),
            float((result.ttft_s <= result.ttft_objective_s).mean()),
            result.gpu_s,
            slowest if np.isfinite(slowest) else None,
            len(result.ttft_s),
            result.price,
        )

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def replay(study: PlanStudy, trace: Trace) -> tuple[Configuration, JudgedResult]:
    """Serve `trace` with the plan of a study, window by window from the first arrival on, again from its beginning
    when it is over. It is judged as its capacities were.

    Orders are given a start-up time ahead. Every kind of the plan has at least one instance all the time, as a pool of
    the simulator cannot be empty: where the plan has none, this is dearer than the plan.
    """
    data, ready = study.data, study.plan.ready
    used = [at for name in TOPOLOGIES[study.plan.option.topology] for at in data.classes[name] if ready[:, at].any()]
    kinds = [data.kinds[at] for at in used]
    counts = np.maximum(1, ready[:, used])
    pools = tuple(
        Pool(
            kind.stages,
            int(counts[0, at]),
            kind.tensor_parallel,
            _engine(kind.stages),
            most=int(counts[:, at].max()),
            gpu=None if kind.gpu == study.request.gpu else kind.gpu,
        )
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
    return configuration, judged(run, trace, study.request)


def serve(trace: Trace, configuration: Configuration, request: PlanRequest) -> JudgedResult:
    """Serve `trace` with a configuration, judged as plans are."""
    run = Simulation(trace, configuration, request.objectives(), request.seed)
    run.run_until()
    return judged(run, trace, request)


def judged(run: Simulation, trace: Trace, request: PlanRequest) -> JudgedResult:
    """The result of a run by the objectives of the reference monolith: the same for every fleet, fast or slow."""
    result, objectives = result_of(run), request.objectives()
    within_s = reference_ttft_s(trace, request.reference(), objectives)
    met = (result.ttft_s <= within_s) & (result.tbt_s <= objectives.tbt_s(run.images))
    known = {each.name: getattr(result, each.name) for each in fields(Result)}
    return JudgedResult(**known | {"ttft_objective_s": within_s, "met": met}, price=mean_price(run, request))


def mean_price(run: Simulation, request: PlanRequest) -> float:
    """Price of a GPU-second of a run that is over, the mean over its GPUs; 1 where no prices are given."""
    prices = np.array(pool_prices(run.configuration, request))
    if len(set(prices)) == 1:
        return float(prices[0])
    held = held_gpu_s(run.state, run.now_s)
    return float(held @ prices[run.state.engines.pool] / held.sum())


def pool_prices(configuration: Configuration, request: PlanRequest) -> list[float]:
    """Price of a GPU-second of each pool. Raises InputError if none is given for its GPUs, but for others."""
    hardware, cluster = request.hardware, configuration.cluster
    if hardware.prices is None:
        return [1.0] * len(cluster.pools)
    price = dict(zip(hardware.gpus, hardware.prices, strict=True))
    for pool in cluster.pools:
        if cluster.gpu_of(pool) not in price:
            raise InputError(f"{configuration.name} runs on {cluster.gpu_of(pool)}, of which no price is given")
    return [price[cluster.gpu_of(pool)] for pool in cluster.pools]


def _engine(stages: str) -> str:
    return "transformers" if stages == "E" else "vllm"
