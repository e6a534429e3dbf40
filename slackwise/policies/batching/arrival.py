"""Batching by arrival."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, batching_policy


@batching_policy(source="classical; default of vLLM, SGLang and every engine surveyed (2026)", order="fixed")
def fcfs(request: Request, instance: Instance, now: float, params: Params) -> float:
    """First come, first served.

    Formula: key [s] = a_r, the arrival.

    Trade-offs: no request starves; a request with many images holds up all behind it.
    """
    return float(request.arrival_s)
