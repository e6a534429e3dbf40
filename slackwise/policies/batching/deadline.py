"""Batching by deadline, and by deadline mixed with size."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, batching_policy
from slackwise.policies.knobs import Choice, Range
from slackwise.policies.quantities import service_s

LATE = 1e10
"""Added to the key of a request that cannot meet its deadline any more: behind every other, in the same order."""


@batching_policy(source="Liu & Layland 1973; llm-d-router 2026", order="fixed")
def edf(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Earliest deadline first.

    Formula: key [s] = d_r = a_r + D_r, arrival plus the TTFT objective.

    Trade-offs: best possible on one preemptive machine while every deadline can be met; under overload it serves
    requests that are already late. Blind to work left: of two equal deadlines the longer job may start too late.
    """
    return float(request.deadline_s)


@batching_policy(
    source="Niyama 2025 (shape; constants are slackwise's)",
    order=lambda knobs: knobs["relegate"] == "no",
    alpha=Range(0.0, 8.0, default=1.0),
    relegate=Choice(("yes", "no"), default="yes"),
)
def niyama_hybrid(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Deadline and size in one key; requests that cannot make it any more queue behind all others.

    Formula: key [s] = d_r + alpha * s_r, with s_r = e_r + u_r + p_r the predicted seconds left; with relegate = "yes" a
    request with t + s_r > d_r goes behind every other.

    Trade-offs: alpha = 0 is edf, a large alpha shortest first; long requests wait longer the larger alpha is.
    Relegation saves the rest under overload and gives the late ones up.
    """
    left_s = service_s(request, 0.0)
    key = float(request.deadline_s) + float(params[0]) * left_s
    if params[1] == 0.0 and now + left_s > float(request.deadline_s):
        return LATE + key
    return key
