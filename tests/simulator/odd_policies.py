"""Policies that no one would use, to reach what the built-in ones leave alone."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, batching_policy


@batching_policy(source="tests", order="fixed")
def fewest_images_left(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Whoever has the fewest images left: a fixed order of requests that themselves change while they wait."""
    return float(request.images_left)
