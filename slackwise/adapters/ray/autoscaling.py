"""Ray Serve's application-level autoscaling policy: one decision for all pools, made off the controller's loop.

Ray calls it in the controller's loop, where slow code stalls scaling and an error freezes updates: a call hands over
the numbers and returns the last decision of a thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from slackwise.adapters.ray.decider import Decider
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.hot import followed
from slackwise.adapters.ray.provisioning import Decision
from slackwise.adapters.ray.shown import shown, write
from slackwise.adapters.ray.telemetry import RayTelemetry, Telemetry
from slackwise.adapters.ray.telling import Telling, told_counters
from slackwise.adapters.ray.views import PoolState, Report

logger = logging.getLogger("ray.serve")


class Autoscaling:
    """An `autoscaling_policy` for `serve deploy`. Advisory: it says what it would do and changes nothing."""

    def __init__(
        self, bundle: str, pools: Sequence[Mapping[str, Any]], gpu_budget: int, advisory: bool = False
    ) -> None:
        self.path, self.gpu_budget, self.advisory = bundle, gpu_budget, advisory
        self.sizes = tuple(FleetPool.from_dict(each) for each in pools)
        self.states: dict[str, PoolState] = {}
        self.decision: Decision | None = None
        self.shown: dict[str, Any] = {}
        self.thread: threading.Thread | None = None

    def __call__(self, contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, Any]]:
        """Targets by deployment; one that is left out keeps its target."""
        try:
            self.states = {each.deployment_name: _state(each) for each in contexts.values()}
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, daemon=True, name="slackwise-provisioning")
                self.thread.start()
            if self.advisory or self.decision is None:
                return {}, {}
            by_name = {size.name: target for size, target in zip(self.sizes, self.decision.targets, strict=True)}
            return {
                key: by_name[each.deployment_name] for key, each in contexts.items() if each.deployment_name in by_name
            }, {}
        except Exception:
            logger.exception("slackwise: provisioning")
            return {}, {}

    def _run(self) -> None:
        decider, telemetry = Decider(followed(self.path), self.sizes, self.gpu_budget), RayTelemetry()
        telling = Telling("provisioning", lambda: self.shown)
        while True:
            try:
                self._turn(decider, telemetry, told_counters(telling.told))
            except Exception:
                logger.exception("slackwise: provisioning")
            time.sleep(decider.interval_s)

    def _turn(self, decider: Decider, telemetry: Telemetry, others: Mapping[str, Report]) -> None:
        """One decision; `others` are the counters of the endpoints, where requests are judged."""
        states, now = [self.states.get(size.name) for size in self.sizes], time.time()
        there = [state for state in states if state is not None]
        if len(there) < len(states):
            return
        names = [size.name for size in self.sizes]
        decision = decider.decide(there, now, others)
        self.shown = shown(decider, decision, self.advisory)
        write(self.shown, telemetry)
        working = [view.working for view in decider.views]
        what = "would set" if self.advisory else "sets"
        logger.info(
            "slackwise: %s %s to %s, wants %s, has %s, attains %.3f TTFT and %.3f TBT: %s %s",
            what,
            names,
            decision.targets,
            decision.wanted,
            working,
            decider.attained.ttft,
            decider.attained.tbt,
            decision.reason,
            decision.complaint,
        )
        self.decision = decision


def _state(context: Any) -> PoolState:
    """A pool from Ray's AutoscalingContext."""
    running, target = len(context.running_replicas), context.target_num_replicas
    reports: dict[str, dict[str, float]] = {}
    for key, replicas in (context.raw_metrics or {}).items():
        for replica, series in replicas.items():
            if series:
                reports.setdefault(str(replica), {})[key] = float(series[-1].value)
    return PoolState(min(running, target), max(0, target - running), max(0, running - target), reports)
