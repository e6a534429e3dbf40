"""Before a run: how each routing decision finds its instance, and the trees (index.py) of large pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slackwise.policies.declare import Params, Policy
from slackwise.policies.features import INSTANCE, REQUEST
from slackwise.policies.lookup import DRAWN, MONOTONE, SCAN, STATIC, Lookup
from slackwise.simulator.state import (
    DECODING,
    ENCODING,
    LEADER,
    LONG_KIND,
    PREFILLING,
    REAL_KIND,
    SHORT_KIND,
    State,
    records,
)

ROUTERS = {ENCODING: "encode_routing", PREFILLING: "routing", DECODING: "decode_routing"}
"""The role that chooses among the instances of each group."""

INDEXED_FROM = {STATIC: 64, MONOTONE: 512}
"""Instances of a group from which a tree is faster than asking about every one of them."""

KINDS = {"f8": REAL_KIND, "i8": LONG_KIND, "i4": SHORT_KIND}


def plant(state: State, decisions: Mapping[str, tuple[Policy, Params]]) -> None:
    """Choose a way for each group and build the trees that are worth it, from instances as they stand.

    `decisions` are the policies and knobs by role. To be repeated when instances have been changed from outside.
    """
    state.bounds, state.leaders = records(0, INSTANCE), records(0, LEADER)
    state.groups.leaves = state.groups.changes = state.engines.changed = 0
    for group, role in ROUTERS.items():
        policy, params = decisions[role]
        members, lookup, knobs = state.groups[group], policy.lookup, policy.values(params)
        members.way = lookup.way if lookup.holds(knobs) and members.count > 0 else SCAN
        members.draws = lookup.draws(knobs) if members.way == DRAWN else 0
        if members.count < INDEXED_FROM.get(int(members.way), 0) or not _alike(state, group, lookup):
            members.way = SCAN
        if len(state.samples) > 0:
            members.way = SCAN
        if members.way == MONOTONE:
            _bound(state, group, lookup)
        elif members.way == STATIC:
            _lead(state, group, policy, params)
    state.clock[0].indexed = int((state.groups.leaves > 0).any())


def _alike(state: State, group: int, lookup: Lookup) -> bool:
    """Whether the features that have to be are the same in the whole group."""
    rows = _members(state, group)
    return all(bool((rows[name] == rows[name][0]).all()) for name in lookup.same if len(rows) > 0)


def _members(state: State, group: int) -> Any:
    members = state.groups[group]
    return state.instances[int(members.first) : int(members.first + members.count)]


def _ready(state: State, group: int) -> Any:
    """The instances that take work."""
    return state.instances[state.ready.instance[group, : int(state.groups[group].ready)]]


def _leaves(count: int) -> int:
    return 1 << max(1, (count - 1).bit_length())


def _lead(state: State, group: int, policy: Policy, params: Params) -> None:
    """Append the group's tournament: a static cost hangs on no request, so that any will do to ask about."""
    members, rows, nobody = state.groups[group], _ready(state, group), records(1, REQUEST)[0]
    leaves = _leaves(int(members.count))
    members.leaves, members.tree = leaves, len(state.leaders)
    nodes = records(2 * leaves, LEADER)
    nodes.cost, nodes.instance = np.inf, -1
    nodes.cost[leaves : leaves + len(rows)] = [policy.compiled(nobody, row, 0.0, params) for row in rows]
    nodes.instance[leaves : leaves + len(rows)] = state.ready.instance[group, : len(rows)]
    for node in range(leaves - 1, 0, -1):
        nodes[node] = nodes[2 * node] if nodes.cost[2 * node] <= nodes.cost[2 * node + 1] else nodes[2 * node + 1]
    state.leaders = np.concatenate([state.leaders, nodes]).view(np.recarray)


def _bound(state: State, group: int, lookup: Lookup) -> None:
    """Append the group's tree of bounds."""
    members, rows = state.groups[group], _ready(state, group)
    members.leaves, members.tree = _leaves(int(members.count)), len(state.bounds)
    members.features = len(lookup.rises) + len(lookup.falls)
    for at, name in enumerate((*lookup.rises, *lookup.falls)):
        assert INSTANCE.fields is not None
        dtype, place = INSTANCE.fields[name][:2]
        feature = state.features[group, at]
        feature.place, feature.kind, feature.falls = place, KINDS[dtype.str[1:]], name in lookup.falls
    nodes = records(int(members.leaves), INSTANCE)
    nodes[:] = rows[0]
    for name in (*lookup.rises, *lookup.falls):
        _fill(nodes[name], rows[name], np.maximum if name in lookup.falls else np.minimum)
    state.bounds = np.concatenate([state.bounds, nodes]).view(np.recarray)


def _fill(nodes: Any, values: Any, pick: Any) -> None:
    """The best value below every node, from the leaves up; `nodes` has one place a leaf, the root is place 1."""
    values = np.concatenate([values, np.repeat(values[-1], len(nodes) - len(values))])
    while len(values) > 1:
        values = pick(values[::2], values[1::2])
        nodes[len(values) : 2 * len(values)] = values
