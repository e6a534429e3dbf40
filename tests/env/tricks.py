"""A policy that cheats."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, admission_policy


@admission_policy(source="a trick")
def drop_heavy(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Turns requests of many images away.

    Formula: 2 (drop) with 10 images or more, else 0 (admit).

    Trade-offs: none are good.
    """
    return 2.0 if request.images >= 10 else 0.0
