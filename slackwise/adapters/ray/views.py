"""PoolViews, as provisioning policies see them, from what replicas report of themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slackwise.adapters.ray.attainment import Attained, Totals, count
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.policies.golden_plan import GoldenPlan
from slackwise.policies.provisioning.pool import WINDOWS_S, PoolView, Rates
from slackwise.policies.winner import Winner

ARRIVED = ("text_requests", "image_requests", "images", "text_tokens", "image_tokens", "output_tokens")
"""Counters of all that ever arrived at a replica."""

ATTAINED = Attained()
"""Where nothing is measured."""

Report = Mapping[str, float]


@dataclass(frozen=True)
class PoolState:
    """A pool as its controller counts it, with the newest report of each ready replica by its name."""

    ready: int
    starting: int
    draining: int
    reports: Mapping[str, Report]


@dataclass
class ArrivalLog:
    """Arrival rates from counters that begin again when a replica does."""

    totals: Totals = field(default_factory=lambda: Totals(ARRIVED))
    samples: deque[tuple[float, dict[str, float]]] = field(default_factory=deque)

    def look(self, reports: Mapping[str, Report], now: float) -> None:
        """Take in the newest counters of the replicas that requests arrive at."""
        if not self.samples:
            self.samples.append((now, dict.fromkeys(ARRIVED, 0.0)))
        self.samples.append((now, self.totals.take(reports)))
        while len(self.samples) > 2 and self.samples[1][0] <= now - WINDOWS_S[-1]:
            self.samples.popleft()

    def rates(self, now: float) -> tuple[Rates, ...]:
        """Rates over each window, or over what of it has passed since the first look."""
        return tuple(self._over(window_s, now) for window_s in WINDOWS_S)

    def _over(self, window_s: float, now: float) -> Rates:
        if not self.samples:
            return Rates(window_s)
        since_s, then = next(
            each for each in reversed(self.samples) if each[0] <= now - window_s or each is self.samples[0]
        )
        passed_s = max(1e-9, now - since_s)
        return Rates(window_s, **{f"{key}_per_s": (self.samples[-1][1][key] - then[key]) / passed_s for key in ARRIVED})


def views_of(
    sizes: Sequence[FleetPool],
    states: Sequence[PoolState],
    rates: tuple[Rates, ...],
    capacities: Sequence[float],
    gpu_budget: int,
    now: float,
    attained: Attained = ATTAINED,
) -> tuple[PoolView, ...]:
    """The views of all pools; `now` in seconds since 1970 (UTC). `capacities` are M_s of an instance of each pool."""
    held = sum(
        size.tensor_parallel * (state.ready + state.starting + state.draining)
        for size, state in zip(sizes, states, strict=True)
    )
    triples = zip(sizes, states, capacities, strict=True)
    shared = {"gpu_cap": gpu_budget, "held_gpus": held, "hour": now / 3600.0 % 24.0, "rates": rates}
    shared |= {"ttft_attainment": attained.ttft, "tbt_attainment": attained.tbt, "missed": attained.missed}
    return tuple(_view(size, state, capacity, shared) for size, state, capacity in triples)


def _view(
    size: FleetPool,
    state: PoolState,
    capacity: float,
    shared: Mapping[str, Any],
) -> PoolView:
    reports = list(state.reports.values())
    total = {key: sum(count(each, key) for each in reports) for key in REPORTED}
    idle = sum(count(each, "waiting") + count(each, "running") == 0 for each in reports)
    used = total["kv_used_tokens"] / total["kv_capacity_tokens"] if total["kv_capacity_tokens"] > 0 else 0.0
    busy = min(1.0, total["busy"] / len(reports)) if reports else 0.0
    return PoolView(
        name=size.name,
        stages=size.stages,
        gpus_per_instance=size.tensor_parallel,
        configured=size.instances,
        most=size.most,
        ready=state.ready,
        starting=state.starting,
        draining=state.draining,
        idle=idle,
        waiting=int(total["waiting"]),
        running=int(total["running"]),
        backlog_s=total["backlog_s"],
        pending_tokens=total["pending_tokens"],
        inverse_tokens=total["inverse_tokens"],
        utilisation=busy,
        busy=busy,
        capacity_tokens_per_s=capacity,
        kv_used=used,
        **shared,
    )


REPORTED = (
    "waiting",
    "running",
    "backlog_s",
    "pending_tokens",
    "inverse_tokens",
    "busy",
    "kv_used_tokens",
    "kv_capacity_tokens",
)
"""What a replica says of itself, beside ARRIVED; `busy` is its share of the last interval spent in steps."""


def capacities_of(winner: Winner, pools: int) -> tuple[float, ...]:
    """[M_s] of each pool, as the bundle's golden plans show them; zeros if it holds none for so many pools."""
    for golden in winner.golden:
        if isinstance(golden, GoldenPlan) and len(golden.pools) == pools:
            return tuple(view.capacity_tokens_per_s for view in golden.pools)
    return (0.0,) * pools
