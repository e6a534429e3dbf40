"""`forecast_ilp` as a provisioning policy: forecast each modality, plan the next windows by the fleet model, again.

The policies know nothing of solvers, so this one lives here; the registry finds it by name at first use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slackwise.policies.declare import Params, provisioning_policy
from slackwise.policies.features import DECODE, KINDS, PREFILL, kind_of
from slackwise.policies.knobs import IntRange, Range
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, Rates, keep
from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.solver.backend import solve
from slackwise.solver.forecast import forecast
from slackwise.solver.planning import IDLE
from slackwise.solver.provisioning.data import Kind, PlanData, Terms, options
from slackwise.solver.provisioning.model import build, read_plan
from slackwise.solver.provisioning.week import provision_week
from slackwise.solver.result import INFEASIBLE, Limits

GPU = "GPU"
"""The one type of GPU that a cluster has."""

DAY_S = 86400.0
REMEMBERED_S = 3 * DAY_S
"""Of the past: two seasons and one to spare."""

Past = tuple[tuple[float, float, float], ...]


@provisioning_policy(
    source="slackwise, after SageServe 2025, DynamoLLM 2025",
    every_s="step_s",
    step_s=Range(60.0, 900.0, default=300.0, log=True),
    horizon=IntRange(3, 24, default=12),
    switch_gpu_s=Range(0.0, 600.0, default=60.0),
    quantile=Range(0.5, 0.99, default=0.9),
    headroom=Range(0.0, 0.5, default=0.0),
    nodes=IntRange(0, 100_000, default=2000),
)
def forecast_ilp(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """The cheapest fleet for the loads that are forecast, planned `horizon` steps ahead and again at every step.

    Formula: minimise sum over steps and pools of GPUs * (`step_s` * n + (start-up seconds + `switch_gpu_s`) * started)
    subject to n * M_s >= (1 + `headroom`) * L_s, with L_s the `quantile` of the forecast of text, image and output
    tokens/s (exponential smoothing; with a daily season once two days are known). The first step's n are the targets.
    If no fleet is enough, the least load goes unserved; if `nodes` of the search end it without a plan, the last plan
    holds.

    Trade-offs: ready before the load is, if it can be forecast; blind to bursts within a step but for the quantile; a
    solver in the loop, which takes a tenth of a second.
    """
    step_s, horizon, switch_gpu_s, quantile, headroom, nodes = (float(each) for each in params)
    past, planned = memory or ((), ())
    past = (*past, _seen(pools[0].rates_over(step_s)))[-int(REMEMBERED_S / step_s) :]
    if any(pool.capacity_tokens_per_s <= 0 for pool in pools):
        return keep(pools, (past, ()))
    terms = Terms(headroom=headroom, switch_gpu_s=switch_gpu_s)
    data = plan_ahead(pools, forecasts(past, int(horizon), step_s, quantile), step_s, terms)
    counts = solved_counts(data, int(nodes))
    if counts is None:
        return Plan(planned[0] if planned else tuple(pool.working for pool in pools), (past, planned[1:]))
    return Plan(counts[0], (past, counts[1:]))


def _seen(rates: Rates) -> tuple[float, float, float]:
    return rates.text_tokens_per_s, rates.image_tokens_per_s, rates.output_tokens_per_s


def forecasts(past: Past, steps: int, step_s: float, quantile: float) -> list[Rates]:
    """The tokens of each modality in the next steps."""
    season = round(DAY_S / step_s)
    columns = [forecast(np.array(each), steps, season, quantile) for each in zip(*past, strict=True)]
    return [
        Rates(step_s, text_tokens_per_s=text, image_tokens_per_s=image, output_tokens_per_s=output)
        for text, image, output in zip(*(each.tolist() for each in columns), strict=True)
    ]


def plan_ahead(pools: Sequence[PoolView], ahead: Sequence[Rates], step_s: float, terms: Terms) -> PlanData:
    """The data of a plan that begins with the instances that work; each pool is a kind of its own.

    Window 0 begins when what is ordered now is ready. GPUs are counted in servers of the largest instance.
    """
    kinds = tuple(
        Kind(kind_of(pool.stages), pool.gpus_per_instance, GPU, start_s=pool.start_s, batch=at + 1)
        for at, pool in enumerate(pools)
    )
    loads = np.array([[pool.load_tokens_per_s(each) for each in ahead] for pool in pools])
    share = loads / np.array([pool.capacity_tokens_per_s for pool in pools])[:, None]
    rate = np.where(share > 0, 1.0 / np.maximum(share, 1e-12), IDLE)  # of a load of 1
    classes = tuple(dict.fromkeys(kind.stages for kind in kinds))
    levels = {name: (_share(name, classes),) for name in classes}
    largest = max(pool.gpus_per_instance for pool in pools)
    topology = next(name for name, its in TOPOLOGIES.items() if its == classes)
    return PlanData(
        kinds=kinds,
        window_s=step_s,
        levels=levels,
        load=np.ones((1, len(ahead))),
        rate=rate[:, None, None, :],
        servers={GPU: max(1, pools[0].gpu_cap // largest)},
        topologies=(topology,),
        terms=terms,
        initial={at: pool.working for at, pool in enumerate(pools)},
        lead_s=max(pool.start_s for pool in pools),
        gpus_per_server=largest,
    )


def _share(name: str, classes: Sequence[str]) -> float:
    """A pool's M_s says what it serves within its part of the objectives: the split is not decided here."""
    early = [each for each in classes if KINDS[each] & ~DECODE]
    return 1.0 / len(early) if name in early or KINDS[name] & PREFILL else 0.0


def solved_counts(data: PlanData, nodes: int) -> tuple[tuple[int, ...], ...] | None:
    """Counts of each window; None if the search ended without a plan."""
    limits = Limits(gap=0.01, work=float(nodes))
    found = provision_week(data, limits)
    if found.solution is not None:
        return _rows(found.solution.ready)
    if found.status != INFEASIBLE:
        return None
    built = build(data, options(data)[0], slack="load")
    answer = solve(built.model, limits)
    return None if answer.values is None else _rows(read_plan(data, built, answer).ready)


def _rows(ready: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(each) for each in row) for row in ready)
