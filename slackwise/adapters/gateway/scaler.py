"""KEDA's external scaler: answers every pool's ScaledObject from the one joint decision of the bundle.

The metric of a pool is the number of its replicas, and the target of the metric is 1, so replicas follow the decision.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from slackwise.adapters.gateway.deployment import Deployment
from slackwise.adapters.gateway.externalscaler import handler, scaler_messages
from slackwise.adapters.ray.decider import Decider
from slackwise.adapters.ray.provisioning import Decision
from slackwise.adapters.ray.views import PoolState
from slackwise.optional import require

logger = logging.getLogger("slackwise.gateway")

SCRAPE_S = 1.0


class Scaler:
    """Decides once an interval in the background, and answers KEDA from the last decision."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.decider = Decider(deployment.bundle, deployment.sizes, deployment.gpu_budget)
        self.targets: dict[str, int] = {}  # until the first decision
        self.decision: Decision | None = None

    async def follow(self) -> None:
        """Decide again and again; a policy may take its time, and an error leaves the targets as they are."""
        while True:
            if self.deployment.feed.looks:
                try:
                    await self.decide()
                except Exception:
                    logger.exception("slackwise: provisioning")
            await asyncio.sleep(self.decider.interval_s if self.deployment.feed.looks else 0.05)

    async def decide(self) -> None:
        """One decision, made in a thread of its own."""
        self.deployment.reload()
        states = [self._state(each.name) for each in self.deployment.sizes]
        decision = await asyncio.to_thread(self.decider.decide, states, time.time())
        names = [each.name for each in self.deployment.sizes]
        self.targets, self.decision = dict(zip(names, decision.targets, strict=True)), decision
        found = [view.working for view in self.decider.views]
        logger.info("pools %s: %s, wants %s, has %s", names, decision.targets, decision.wanted, found)
        if complaint := decision.complaint or self.deployment.bundle.error:
            logger.warning("%s", complaint)

    def _state(self, pool: str) -> PoolState:
        """A pool as its servers answer; the rest up to the target starts, what is beyond it drains.

        The first target is what is there already: a scaler that begins again moves nothing.
        """
        heard = self.deployment.feed.pools.get(pool, {})
        reports = {name: each.report for name, each in heard.items() if each.report is not None}
        ready, target = len(reports), self.targets.get(pool, len(heard))
        return PoolState(min(ready, target), max(0, target - ready), max(0, ready - target), reports)


class ScalerService:
    """The four methods of `externalscaler.ExternalScaler`."""

    def __init__(self, scaler: Scaler, poll_s: float = 0.5) -> None:
        self.scaler, self.poll_s = scaler, poll_s
        self.messages = scaler_messages()

    async def IsActive(self, asked: Any, context: Any) -> Any:  # noqa: N802
        """Whether the pool should have any replicas."""
        return self.messages["IsActiveResponse"](result=await self._target(asked, context) > 0)

    async def StreamIsActive(self, asked: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Whether the pool should have any replicas, now and whenever that changes."""
        said = None
        while True:
            active = await self._target(asked, context) > 0
            if active != said:
                yield self.messages["IsActiveResponse"](result=active)
            said = active
            await asyncio.sleep(self.poll_s)

    async def GetMetricSpec(self, asked: Any, context: Any) -> Any:  # noqa: N802
        """The metric of the pool, and its target: 1 a replica."""
        await self._target(asked, context)
        spec = self.messages["MetricSpec"](metricName=_metric(asked), targetSize=1, targetSizeFloat=1.0)
        return self.messages["GetMetricSpecResponse"](metricSpecs=[spec])

    async def GetMetrics(self, asked: Any, context: Any) -> Any:  # noqa: N802
        """Replicas that the pool should have now."""
        target = await self._target(asked.scaledObjectRef, context)
        name = asked.metricName or _metric(asked.scaledObjectRef)
        value = self.messages["MetricValue"](metricName=name, metricValue=target, metricValueFloat=float(target))
        return self.messages["GetMetricsResponse"](metricValues=[value])

    async def _target(self, asked: Any, context: Any) -> int:
        """Ends the call where the ScaledObject names no pool of the bundle, and before the first decision.

        KEDA changes nothing on an error.
        """
        pool, code = asked.scalerMetadata.get("pool", ""), require("grpc", "gateway").StatusCode
        names = [each.name for each in self.scaler.deployment.sizes]
        if pool not in names:
            known = ", ".join(names)
            await context.abort(code.INVALID_ARGUMENT, f"metadata.pool {pool[:80]!r} must be one of {known}")
        if pool not in self.scaler.targets:
            await context.abort(code.UNAVAILABLE, "nothing is decided yet")
        return self.scaler.targets[pool]


def _metric(asked: Any) -> str:
    return f"slackwise-{asked.scalerMetadata.get('pool', '')}"


async def serve_scaler(deployment: Deployment, listen: str, ready: Any) -> None:
    """Serve KEDA at host:port `listen` until cancelled; `ready(port)` is called once it listens."""
    from slackwise.adapters.gateway.server import serving

    scaler = Scaler(deployment)
    loops = [deployment.feed.follow(SCRAPE_S), scaler.follow()]
    await serving(handler(ScalerService(scaler)), listen, loops, ready)
