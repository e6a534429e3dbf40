"""Routing among many instances: the cheapest leads a tournament, is found through a tree of bounds, or is drawn.

A static cost is computed when its instance has changed, and carried up a tournament. For a monotone policy a node of
the group's tree holds, for each feature that the policy reads, the value most to its liking among the
instances below: asked about a node, the policy gives a cost that none of them undercuts. Whoever changes an
instance notes it; nodes above it are brought up to date when the next decision of its group is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.jit import called, part
from slackwise.policies.hashing import drawn_at
from slackwise.policies.lookup import STATIC
from slackwise.simulator.ask import ask
from slackwise.simulator.state import REAL_KIND, SHORT_KIND
from slackwise.simulator.tables import (
    INSTANCE_BYTES,
    bound_of,
    changed_at,
    engine_of,
    feature_of,
    group_of,
    instance_of,
    leader_of,
    long_at,
    ready_at,
    real_at,
    request_of,
    short_at,
)

GROUPS = 3


@part
def note_change(s: Any, instance: int) -> None:
    """What policies see of an instance has changed."""
    if s.indexed == 1:
        list_change(s, instance)


@called
def list_change(s: Any, instance: int) -> None:
    """Add an instance to the list of changes of each group with a tree that it belongs to, once."""
    engine = engine_of(s, instance)
    for group in range(GROUPS):
        members = group_of(s, group)
        inside = members.first <= instance < members.first + members.count
        listed = inside and members.leaves > 0 and instance_of(s, instance).index >= 0
        if listed and engine.changed & (1 << group) == 0:
            changed_at(s, group, members.changes).instance = instance
            members.changes += 1
            engine.changed |= 1 << group


@called
def update(s: Any, group: int) -> None:
    """Bring the nodes above every changed instance up to date."""
    members = group_of(s, group)
    for at in range(members.changes):
        instance = changed_at(s, group, at).instance
        engine_of(s, instance).changed &= ~(1 << group)
        node = (members.leaves + instance_of(s, instance).index) >> 1
        while node >= 1 and combine(s, group, node):
            node >>= 1
    members.changes = 0


@called
def lead(s: Any, group: int, request: int, now: float, role: int) -> int:
    """The instance of lowest static cost, ties to the lowest index: the leader, once the changed ones have played."""
    members = group_of(s, group)
    for at in range(members.changes):
        instance = changed_at(s, group, at).instance
        engine_of(s, instance).changed &= ~(1 << group)
        node = members.leaves + instance_of(s, instance).index
        leader_of(s, members.tree + node).cost = ask(s, role, request_of(s, request), instance_of(s, instance), now)
        node >>= 1
        while node >= 1 and play(s, members.tree, node):
            node >>= 1
    members.changes = 0
    return leader_of(s, members.tree + 1).instance


@called
def regrow(s: Any, group: int) -> None:
    """Build a group's tree anew: its leaves are the ready instances in order. Costs follow when next asked for."""
    members = group_of(s, group)
    for instance in range(members.first, members.first + members.count):
        engine_of(s, instance).changed &= ~(1 << group)
    members.changes = 0
    if members.way == STATIC:
        for node in range(1, 2 * members.leaves):
            leader_of(s, members.tree + node).cost = np.inf
        for at in range(members.ready):
            leader_of(s, members.tree + members.leaves + at).instance = ready_at(s, group, at).instance
            list_change(s, ready_at(s, group, at).instance)
    else:
        for node in range(members.leaves - 1, 0, -1):
            if below(s, group, node) < members.ready:
                combine(s, group, node)


@part
def play(s: Any, tree: int, node: int) -> bool:
    """Set the leader of a node; whether that changed it."""
    mine, left, right = leader_of(s, tree + node), leader_of(s, tree + 2 * node), leader_of(s, tree + 2 * node + 1)
    best = left if left.cost <= right.cost else right
    changed = best.cost != mine.cost or best.instance != mine.instance
    mine.cost, mine.instance = best.cost, best.instance
    return changed


@part
def combine(s: Any, group: int, node: int) -> bool:
    """Compute a node from what is below it; whether that changed it."""
    members, changed = group_of(s, group), False
    mine, left = address_of(s, group, node), address_of(s, group, 2 * node)
    right = address_of(s, group, 2 * node + 1) if below(s, group, 2 * node + 1) < members.ready else left
    for at in range(members.features):
        feature = feature_of(s, group, at)
        if feature.kind == REAL_KIND:
            one, two = real_at(left + feature.place).value, real_at(right + feature.place).value
            best = max(one, two) if feature.falls == 1 else min(one, two)
            changed = changed or best != real_at(mine + feature.place).value
            real_at(mine + feature.place).value = best
        elif feature.kind == SHORT_KIND:
            small, other = short_at(left + feature.place).value, short_at(right + feature.place).value
            chosen = max(small, other) if feature.falls == 1 else min(small, other)
            changed = changed or chosen != short_at(mine + feature.place).value
            short_at(mine + feature.place).value = chosen
        else:
            first, second = long_at(left + feature.place).value, long_at(right + feature.place).value
            taken = max(first, second) if feature.falls == 1 else min(first, second)
            changed = changed or taken != long_at(mine + feature.place).value
            long_at(mine + feature.place).value = taken
    return changed


@part
def address_of(s: Any, group: int, node: int) -> int:
    """Where the record of a node or, at the bottom, of an instance lies."""
    members = group_of(s, group)
    if node >= members.leaves:
        return s.instances_at + ready_at(s, group, node - members.leaves).instance * INSTANCE_BYTES
    return s.bounds_at + (members.tree + node) * INSTANCE_BYTES


@part
def below(s: Any, group: int, node: int) -> int:
    """Place among the ready instances of the group of the first one below a node."""
    leaves, place = group_of(s, group).leaves, node
    while place < leaves:
        place *= 2
    return place - leaves


@part
def cost_of(s: Any, group: int, node: int, request: int, now: float, role: int) -> float:
    """Cost of an instance, or a bound for all instances below a node; infinite if there are none."""
    members = group_of(s, group)
    if below(s, group, node) >= members.ready:
        return np.inf
    if node >= members.leaves:
        instance = instance_of(s, ready_at(s, group, node - members.leaves).instance)
        return ask(s, role, request_of(s, request), instance, now)
    return ask(s, role, request_of(s, request), bound_of(s, members.tree + node), now)


@part
def descend(s: Any, group: int, request: int, now: float, role: int) -> int:
    """A leaf that is likely cheap: from the root towards the lower bound, to the left at ties."""
    node, leaves = 1, group_of(s, group).leaves
    while node < leaves:
        node *= 2
        left = cost_of(s, group, node, request, now, role)
        right = cost_of(s, group, node + 1, request, now, role)
        if right < left:
            node += 1
    return node


@called
def search(s: Any, group: int, request: int, now: float, role: int) -> int:
    """The instance of lowest cost, ties to the lowest index: every node that may hold a better one is looked into."""
    members = group_of(s, group)
    best = descend(s, group, request, now, role)
    best_cost = cost_of(s, group, best, request, now, role)
    node = 1
    while node > 0:
        cost = cost_of(s, group, node, request, now, role)
        place = below(s, group, node)
        hopeless = cost > best_cost or (cost == best_cost and place >= best - members.leaves)
        if hopeless or node >= members.leaves:
            if not hopeless:
                best, best_cost = node, cost
            node = following(node)
        else:
            node *= 2
    return ready_at(s, group, best - members.leaves).instance


@part
def following(node: int) -> int:
    """The node to look into after all below `node`, from left to right; 0 if there is none."""
    while node & 1 == 1:
        node >>= 1
    return node + 1 if node > 0 else 0


@part
def drawn(s: Any, group: int, request: int, now: float, role: int) -> int:
    """The cheapest of the few instances that the draw names, ties to the lowest index."""
    members, entry = group_of(s, group), request_of(s, request)
    best, best_cost = members.first + members.count, np.inf
    for turn in range(min(members.draws, members.ready)):
        instance = ready_at(s, group, drawn_at(entry.draw, turn, members.ready)).instance
        cost = ask(s, role, entry, instance_of(s, instance), now)
        if cost < best_cost or (cost == best_cost and instance < best):
            best, best_cost = instance, cost
    return best
