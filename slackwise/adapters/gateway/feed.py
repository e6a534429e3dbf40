"""What all servers of all pools report, read again and again in the background."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slackwise.adapters.gateway.reports import judged, report_of
from slackwise.adapters.gateway.scrape import Samples, Service, addresses, scrape
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.workload import Work
from slackwise.optional import require

logger = logging.getLogger("slackwise.gateway")

AT_ONCE = 32
"""Servers that are asked at the same time."""

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Heard:
    """A server's newest report and when it was asked for, seconds since 1970; None: it did not answer."""

    report: Mapping[str, float] | None
    made_s: float


@dataclass
class Feed:
    """Reports of the servers of each pool by their address; `work` tells what an image weighs in each pool."""

    services: Sequence[Service]
    sizes: Mapping[str, FleetPool]
    work: Mapping[str, Work]
    objectives: Mapping[str, float]
    pools: dict[str, dict[str, Heard]] = field(default_factory=dict)
    looks: int = 0

    async def follow(self, period_s: float) -> None:
        """Look every `period_s`, for ever."""
        httpx = require("httpx", "gateway")
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, trust_env=False) as http:
            while True:
                began = time.monotonic()
                try:
                    await self.look(http)
                except Exception:
                    logger.exception("slackwise: cannot read the servers' metrics")
                await asyncio.sleep(max(0.05, period_s - (time.monotonic() - began)))

    async def look(self, http: object) -> None:
        """Ask every server once, by an httpx.AsyncClient."""
        found = await asyncio.gather(*(addresses(each) for each in self.services))
        asked = [(service.pool, name) for service, names in zip(self.services, found, strict=True) for name in names]
        at_once = asyncio.Semaphore(AT_ONCE)

        async def ask(name: str) -> tuple[float, Samples | None]:
            async with at_once:
                return time.time(), await scrape(http, name)

        heard = await asyncio.gather(*(ask(name) for _, name in asked))
        pools: dict[str, dict[str, Heard]] = {pool: {} for pool in self.sizes}
        for (pool, name), (made_s, samples) in zip(asked, heard, strict=True):
            pools[pool][name] = Heard(None if samples is None else self._report(pool, samples), made_s)
        self.pools, self.looks = pools, self.looks + 1

    def _report(self, pool: str, samples: Samples) -> dict[str, float]:
        return report_of(samples, self.sizes[pool].stages, self.work[pool]) | judged(samples, self.objectives)
