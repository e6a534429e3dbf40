"""A learned actor as a provisioning policy: it is shown the pools once an interval, and changes fleet or knobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.policies.declare import PROVISIONING, Params, Policy
from slackwise.policies.features import kind_of
from slackwise.policies.knobs import Value
from slackwise.policies.learned.actor import CHOICES, Actor
from slackwise.policies.learned.axis import value_of
from slackwise.policies.learned.features import Transform, features
from slackwise.policies.learned.observe import observe
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, lot, may_give
from slackwise.policies.registry import find

NAME = "actor"
"""Name of the policy that an actor becomes."""

DIGITS = 9
"""Digits of a knob that are kept: sums differ in their last bits from machine to machine."""

FAMILIES = {"encode_routing": "routing", "encode_batching": "batching", "decode_routing": "routing"}
"""Of roles that are not called as the family of their policies."""


def actor_policy(actor: Actor) -> Policy:
    """The provisioning policy of an actor of Provision or Knobs. Raises InputError for one of another environment."""
    if not actor.most_change and not actor.knobs:
        raise InputError(f"an actor of {actor.environment} cannot be used for provisioning: train Provision or Knobs")
    source = f"learned in {actor.environment}"
    fleet = bool(actor.most_change)
    return Policy(NAME, PROVISIONING, {}, source, Decider(actor).plan, every_s=actor.interval_s, fleet=fleet)


@dataclass(frozen=True)
class Decider:
    """What asks an actor."""

    actor: Actor

    def plan(self, pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
        """Decide by a network that was trained on the features of the pools.

        Formula: action = actor(transform(features)), the features and transforms of the environment it was trained in;
        the action changes the instances of each pool [instances], or sets knobs on their axes.

        Trade-offs: knows what it was trained on; nobody can say why it decides as it does.
        """
        kinds = tuple(kind_of(pool.stages) for pool in pools)  # a deployment has names of its own for them
        if kinds != self.actor.pools:
            raise InputError(f"the actor was trained on {'+'.join(self.actor.pools)}, not on {'+'.join(kinds)}")
        raw, kept = observe(pools, memory, self.actor.interval_s)
        action = self.actor.action(Transform(features(len(pools)))(raw))
        if self.actor.knobs:
            return Plan(tuple(pool.working for pool in pools), kept, knobs=self._knobs(action))
        return self._fleet(pools, action, kept)

    def _fleet(self, pools: Sequence[PoolView], action: NDArray[Any], memory: Memory) -> Plan:
        """Changes of the pools as ProvisionActions orders them; then a role switch of one lot."""
        most, switch_s = self.actor.most_change, None
        discrete = self.actor.head == CHOICES
        change = action[: len(pools)] - most if discrete else np.rint(action * most).astype(np.int64)
        targets = [pool.working + int(each) for pool, each in zip(pools, change, strict=True)]
        if discrete and len(action) > len(pools) and action[-1] > 0:
            giver, taker = list(permutations(range(len(pools)), 2))[int(action[-1]) - 1]
            if may_give(pools[giver], pools[taker]):  # else nothing is ordered, as in the environment
                out, into = lot(pools[giver], pools[taker])
                targets[giver], targets[taker] = targets[giver] - out, targets[taker] + into
                switch_s = pools[taker].start_s
        return Plan(tuple(targets), memory, switch_s)

    def _knobs(self, action: NDArray[Any]) -> tuple[tuple[str, str, Value], ...]:
        """The knobs at the places of the action."""
        found = []
        for (role, policy, name), place in zip(self.actor.knobs, (action + 1.0) / 2.0, strict=True):
            declared = find(FAMILIES.get(role, role), policy).knobs[name]
            found.append((role, name, value_of(declared, round(float(place), DIGITS))))
        return tuple(found)
