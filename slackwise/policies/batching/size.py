"""Batching by predicted size."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, batching_policy
from slackwise.policies.knobs import IntRange, Quantile
from slackwise.policies.quantities import service_s

SHORTEST_S = 1e-9
"""Work predicted to take less than this counts as this much: a ratio needs a divisor."""


@batching_policy(source="classical; LTR 2024", order="fixed", quantile=Quantile(0.5, 0.95, default=0.5))
def sjf(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Shortest job first.

    Formula: key [s] = s_r = (e_r + u_r + p_r) * exp(z * sigma_r), with z the normal score of `quantile`.

    Trade-offs: the lowest mean wait there is; long requests starve while short ones keep coming, and deadlines are not
    looked at.
    """
    return service_s(request, params[0])


@batching_policy(
    source="Brinch Hansen 1971; SGLang 0.5.23 (2026)", longest_queue=IntRange(32, 512, default=128, log=True)
)
def hrrn(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Highest response ratio next: short ones first, but every wait counts, the shorter the job the more.

    Formula: key [1] = -(t - a_r + s_r) / s_r, with s_r = e_r + u_r + p_r; key [s] = a_r while more than `longest_queue`
    requests wait on the instance (SGLang ranks by uncached prompt tokens instead of s_r).

    Trade-offs: no starvation and no deadlines; the order changes with time, so a queue must be ranked anew each step,
    which is why arrival order takes over in a long queue.
    """
    if instance.waiting > params[0]:
        return float(request.arrival_s)
    left_s = service_s(request, 0.0)
    if left_s < SHORTEST_S:
        left_s = SHORTEST_S
    return -(now - float(request.arrival_s) + left_s) / left_s
