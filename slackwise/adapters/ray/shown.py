"""What provisioning shows of itself after a decision: to `slackwise watch`, and as metrics."""

from __future__ import annotations

from typing import Any

from slackwise.adapters.ray.decider import Decider
from slackwise.adapters.ray.provisioning import Decision
from slackwise.adapters.ray.telemetry import Telemetry


def shown(decider: Decider, decision: Decision, advisory: bool) -> dict[str, Any]:
    """Pools with their queues, what is wanted and allowed now, and what was attained since the last decision."""
    pools = {}
    for view, wanted, target in zip(decider.views, decision.wanted, decision.targets, strict=True):
        pools[view.name] = {
            "ready": view.ready,
            "starting": view.starting,
            "draining": view.draining,
            "wanted": wanted,
            "target": target,
            "waiting": view.waiting,
            "running": view.running,
            "backlog_s": view.backlog_s,
            "busy": view.busy,
        }
    attained = {"ttft": decider.attained.ttft, "tbt": decider.attained.tbt}
    words = {"reason": decision.reason, "complaint": decision.complaint or decider.bundle.error}
    return {"pools": pools, "attained": attained, "advisory": advisory, **words}


def write(document: dict[str, Any], telemetry: Telemetry) -> None:
    """The same as metrics."""
    for name, pool in document["pools"].items():
        for state in ("ready", "starting", "draining"):
            telemetry.show("slackwise_pool_instances", pool[state], pool=name, state=state)
        for what in ("wanted", "target", "waiting", "running"):
            telemetry.show(f"slackwise_pool_{what}", pool[what], pool=name)
        telemetry.show("slackwise_pool_backlog_seconds", pool["backlog_s"], pool=name)
    for objective, share in document["attained"].items():
        telemetry.show("slackwise_attainment", share, objective=objective)
    telemetry.add("slackwise_decisions", reason=document["reason"])
