"""The joint decision over all pools, once an interval: what they report, seen by the bundle's policy, guarded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slackwise.adapters.ray.attainment import Attained, AttainmentLog
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.hot import Bundle
from slackwise.adapters.ray.provisioning import Decision, Guard, interval_of
from slackwise.adapters.ray.views import ArrivalLog, PoolState, Report, capacities_of, views_of
from slackwise.policies.provisioning.pool import PoolView


class Decider:
    """Asks the policy of a bundle that may change meanwhile; remembers arrivals, attainment and the last views."""

    def __init__(self, bundle: Bundle, sizes: Sequence[FleetPool], gpu_budget: int) -> None:
        self.bundle, self.sizes, self.gpu_budget = bundle, tuple(sizes), gpu_budget
        self.guard = Guard(bundle.winner.policies, self.sizes, gpu_budget)
        self.version, self.arrivals, self.attainment = bundle.version, ArrivalLog(), AttainmentLog()
        self.views: tuple[PoolView, ...] = ()
        self.attained = Attained()

    @property
    def interval_s(self) -> float:
        """Seconds between two decisions."""
        return interval_of(self.bundle.winner)

    def decide(self, states: Sequence[PoolState], now: float, others: Mapping[str, Report] | None = None) -> Decision:
        """The decision for pools in these states, in the order of the sizes; `others` are reports of no pool."""
        self._renew()
        self.arrivals.look({name: report for state in states for name, report in state.reports.items()}, now)
        self.attained = self.attainment.look([others or {}, *(state.reports for state in states)])
        capacities = capacities_of(self.bundle.winner, len(self.sizes))
        rates = self.arrivals.rates(now)
        self.views = views_of(self.sizes, states, rates, capacities, self.gpu_budget, now, self.attained)
        return self.guard.decide(self.views, now)

    def _renew(self) -> None:
        if self.version != self.bundle.version:
            self.version = self.bundle.version
            self.guard.load(self.bundle.winner.policies)
