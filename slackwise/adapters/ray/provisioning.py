"""The provisioning policy of a bundle, guarded: bounds, a GPU budget, one move at a time, and never an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slackwise.adapters.ray.fleet import FleetPool
from slackwise.errors import InputError
from slackwise.policies.bundle import Policies
from slackwise.policies.declare import PROVISIONING
from slackwise.policies.golden_plan import planned
from slackwise.policies.provisioning.pool import Memory, PoolView
from slackwise.policies.winner import Winner

POLICY, HELD, FAILED = "policy", "a move is under way", "policy failed"
"""Why targets are what they are."""


@dataclass(frozen=True)
class Decision:
    """What the policy wants, within bounds, and the one step towards it that is allowed now."""

    wanted: tuple[int, ...]
    targets: tuple[int, ...]
    reason: str
    complaint: str = ""  # of a policy that failed


class Guard:
    """Asks the policy and keeps its answer within what is safe; remembers the last good one."""

    def __init__(self, policies: Policies, sizes: Sequence[FleetPool], gpu_budget: int) -> None:
        self.sizes, self.gpu_budget = tuple(sizes), gpu_budget
        self.wanted = tuple(each.instances for each in sizes)
        self.load(policies)

    def load(self, policies: Policies) -> None:
        """Ask this bundle's policy from now on: it begins without memory."""
        self.policies: Policies = policies
        self.memory: Memory = ()

    def decide(self, views: Sequence[PoolView], now: float) -> Decision:
        """What the pools should have now. Never raises: a policy that fails leaves the last good decision in force."""
        complaint = ""
        try:
            plan = planned(self.policies, views, now, self.memory)
            self.wanted, self.memory = self._checked(plan.targets), plan.memory
        except Exception as error:
            complaint = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        targets, moving = self._step(views)
        reason = FAILED if complaint else HELD if moving else POLICY
        return Decision(self.wanted, targets, reason, complaint)

    def _checked(self, targets: Sequence[Any]) -> tuple[int, ...]:
        """Targets as whole numbers within bounds and budget. Raises InputError for anything else."""
        if len(targets) != len(self.sizes) or any(not -1e9 < float(each) < 1e9 for each in targets):
            raise InputError(f"{len(self.sizes)} pools need as many targets, not {targets}")
        pairs = zip(self.sizes, targets, strict=True)
        bounded = [min(size.most, max(size.least, int(target))) for size, target in pairs]
        while (
            sum(count * size.tensor_parallel for count, size in zip(bounded, self.sizes, strict=True)) > self.gpu_budget
        ):
            above = [at for at, size in enumerate(self.sizes) if bounded[at] > size.least]
            if not above:
                raise InputError("the least instances of all pools exceed the GPU budget")
            largest = max(above, key=lambda at: bounded[at] * self.sizes[at].tensor_parallel)
            bounded[largest] -= 1
        return tuple(bounded)

    def _step(self, views: Sequence[PoolView]) -> tuple[tuple[int, ...], bool]:
        """(targets of all pools, whether a move is under way): one instance more or one less, or none.

        GPUs of what still drains are not free: where they are short, one pool drains before another starts.
        """
        now = [view.working for view in views]
        if any(view.starting or view.draining for view in views):
            return tuple(now), True
        held = sum(view.gpus_per_instance * (view.working + view.draining) for view in views)
        missing = [wanted - working for wanted, working in zip(self.wanted, now, strict=True)]
        growing = max(range(len(now)), key=lambda at: (missing[at] / max(1, self.wanted[at]), -at))
        if missing[growing] > 0 and held + self.sizes[growing].tensor_parallel <= self.gpu_budget:
            now[growing] += 1
            return tuple(now), False
        spare = [at for at in range(len(now)) if missing[at] < 0 and views[at].ready > self.sizes[at].least]
        if spare:
            now[min(spare, key=lambda at: (missing[at], at))] -= 1
        return tuple(now), False


def interval_of(winner: Winner) -> float:
    """Seconds between two questions: as the bundle's settings say, else as its policy declares."""
    said = winner.provisioning.get("interval_s")
    if isinstance(said, int | float) and not isinstance(said, bool) and 0 < said < math.inf:
        return float(said)
    return winner.policies.policy(PROVISIONING).interval_s(winner.policies.params(PROVISIONING))
