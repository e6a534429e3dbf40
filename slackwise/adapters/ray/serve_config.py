"""The Ray Serve application of a bundle: pools with router, bounds and grace, and the policy that sizes them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from slackwise.adapters.ray.commands import engine_arguments
from slackwise.adapters.ray.fleet import FleetPool, gpu_budget
from slackwise.adapters.ray.target import Target
from slackwise.errors import InputError
from slackwise.policies.winner import Winner

APPLICATION = "slackwise"
STATISTICS_S = 0.25
"""How often replicas are asked for what their router has to know."""

CALLS_AT_ONCE = 256
"""Of a replica: high enough that requests wait in the engine, which orders them by slack, and not in Ray's queue."""

CALLS_WAITING = 4096
"""Of a pool whose replicas are all full: one more is refused."""

GRACE_S = 300.0
"""A replica that stops may finish its work for so long; Ray ends what is left."""


HEALTH_S = 60.0
"""For an engine to say that it is well: it may be busy."""


def serve_config(winner: Winner, pools: Sequence[FleetPool], target: Target, bundle: str) -> dict[str, Any]:
    """The document that `serve deploy` takes. Numbers that tuning changes are in the bundle, not here."""
    application: dict[str, Any] = {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": "slackwise.adapters.ray.application:build",
        "args": _arguments(pools, target, bundle),
        "deployments": [*(_deployment(pool, target, bundle) for pool in pools), {"name": "ingress", "num_replicas": 1}],
    }
    if winner.policies.resizes:
        application["autoscaling_policy"] = {
            "policy_function": "slackwise.adapters.ray.autoscaling:Autoscaling",
            "policy_kwargs": {
                "bundle": bundle,
                "gpu_budget": gpu_budget(winner, target),
                "advisory": target.advisory,
                "pools": [asdict(pool) for pool in pools],
            },
        }
    http = {"host": target.host, "port": target.port}
    return {"proxy_location": "HeadOnly", "http_options": http, "applications": [application]}


def _arguments(pools: Sequence[FleetPool], target: Target, bundle: str) -> dict[str, Any]:
    engines = {pool.name: engine_arguments(pool, target, bundle) for pool in pools}
    limits = {name: getattr(target, name) for name in ("images_per_request", "body_bytes", "requests_at_once")}
    model = {"model": target.model, "served_name": target.name, "api_key_env": target.api_key_env}
    return {"bundle": bundle, **model, **limits, "pools": [asdict(pool) for pool in pools], "engines": engines}


def _deployment(pool: FleetPool, target: Target, bundle: str) -> dict[str, Any]:
    told = {} if target.decisions is None else {"decisions": target.decisions}
    router = {
        "request_router_class": "slackwise.adapters.ray.router.PolicyRouter",
        "request_router_kwargs": {"bundle": bundle, "pool": asdict(pool), **told},
        "request_routing_stats_period_s": STATISTICS_S,
    }
    sizes: dict[str, Any] = {"num_replicas": pool.instances}
    if pool.most > pool.least:
        sizes = {"autoscaling_config": _autoscaling(pool)}
    return {
        "name": pool.name,
        **sizes,
        "max_ongoing_requests": CALLS_AT_ONCE,
        "max_queued_requests": CALLS_WAITING,
        "graceful_shutdown_timeout_s": GRACE_S,
        "health_check_timeout_s": HEALTH_S,
        "ray_actor_options": {"num_gpus": pool.tensor_parallel},
        "request_router_config": router,
    }


def _autoscaling(pool: FleetPool) -> dict[str, Any]:
    bounds = {"min_replicas": pool.least, "initial_replicas": pool.instances, "max_replicas": pool.most}
    return bounds | {"upscale_delay_s": 0.0, "downscale_delay_s": 0.0, "look_back_period_s": 11.0}


def check_schema(document: dict[str, Any]) -> bool:
    """Whether Ray Serve is there to check the document. Raises InputError with its first complaint if it refuses it."""
    schema = serve_schema()
    if schema is None:
        return False
    try:
        schema.model_validate(document)
    except ValueError as error:
        raise InputError(f"Ray Serve refuses the configuration: {' '.join(str(error).split())[:300]}") from None
    return True


def serve_schema() -> Any:
    """Ray Serve's schema of the document, None if it is not installed; its import warns of Pydantic's future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from ray.serve.schema import ServeDeploySchema
        except ImportError:
            return None
    return ServeDeploySchema
