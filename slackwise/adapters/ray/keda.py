"""KEDA manifests: one ScaledObject a pool, all of which ask the same external scaler for the one joint decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.target import Target

POLLING_S = 5


def scaled_objects(pools: Sequence[FleetPool], target: Target) -> list[dict[str, Any]]:
    """A ScaledObject for the Kubernetes Deployment `slackwise-POOL` of each pool.

    The scaler answers with target replicas and a metric target of 1, so that replicas follow its answer; the windows of
    Kubernetes' autoscaler are switched off, since the policy has its own.
    """
    return [_scaled_object(pool, target) for pool in pools]


def _scaled_object(pool: FleetPool, target: Target) -> dict[str, Any]:
    name = f"slackwise-{pool.name}"
    window = {"stabilizationWindowSeconds": 0}
    trigger = {"scalerAddress": target.scaler_address, "pool": pool.name}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": target.namespace},
        "spec": {
            "scaleTargetRef": {"name": name},
            "pollingInterval": POLLING_S,
            "minReplicaCount": pool.least,
            "maxReplicaCount": pool.most,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": window, "scaleDown": window}}},
            "triggers": [{"type": "external", "metadata": trigger}],
        },
    }
