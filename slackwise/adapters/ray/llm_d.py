"""A bundle's routing as weights of llm-d's scorers (EndpointPickerConfig), as far as they can say it.

llm-d's scorers give each endpoint a score from 0 to 1, relative to the other endpoints of the moment, and add them up
by weight. A weighted sum of loads becomes scorers of the same loads with the same weights: the order of endpoints is
alike, not equal.
"""

from __future__ import annotations

from typing import Any

from slackwise.adapters.ray.fleet import FleetPool
from slackwise.errors import InputError
from slackwise.policies.bundle import Policies

API = "llm-d.ai/v1alpha1"
"""Of llm-d-router 0.8; later ones accept it and say that it is deprecated."""

REQUESTS = ("queue-scorer", "running-requests-size-scorer")
SCORERS: dict[str, tuple[str, ...]] = {
    "requests": REQUESTS,
    "prompt_tokens": ("token-load-scorer",),
    "kv": ("kv-cache-utilization-scorer",),
}
"""Weights of the policy `weighted_score` that llm-d has scorers for."""

EXPRESSED = ("least_requests", "weighted_score")
PICKER = "max-score-picker"


class InexpressibleError(InputError):
    """The bundle's routing has no equal there."""


def weights_of(policies: Policies, role: str) -> dict[str, float]:
    """Scorer -> weight of a routing role. Raises InexpressibleError naming what llm-d has no scorer for."""
    choice = getattr(policies, role)
    if choice.name == "least_requests":
        return dict.fromkeys(REQUESTS, 1.0)
    if choice.name != "weighted_score":
        raise InexpressibleError(f"llm-d cannot express {role} = {choice.name}, only {' and '.join(EXPRESSED)}")
    knobs = {name: float(value) for name, value in choice.knobs.items() if float(value) != 0.0}
    strange = [name for name in knobs if name not in SCORERS]
    if strange or not knobs:
        what = ", ".join(f"{role}.{name} = {knobs[name]:g}" for name in strange) or f"{role} without any weight"
        raise InexpressibleError(f"llm-d has no scorer for {what}")
    return {scorer: weight for name, weight in knobs.items() for scorer in SCORERS[name]}


def endpoint_picker(policies: Policies, pool: FleetPool) -> dict[str, Any]:
    """The EndpointPickerConfig for one pool of endpoints."""
    weights = weights_of(policies, pool.role)
    plugins = [{"type": name} for name in (*weights, PICKER)]
    chosen: list[dict[str, Any]] = [{"pluginRef": name, "weight": weight} for name, weight in weights.items()]
    profile = {"name": "default", "plugins": [*chosen, {"pluginRef": PICKER}]}
    return {"apiVersion": API, "kind": "EndpointPickerConfig", "plugins": plugins, "schedulingProfiles": [profile]}
