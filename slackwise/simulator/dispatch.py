"""Routing: which instance gets the work, and what its record shows afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.jit import part
from slackwise.policies.lookup import MONOTONE, SCAN, STATIC, TURN
from slackwise.simulator.index import drawn, lead, note_change, search, update
from slackwise.simulator.log import ROUTED, note
from slackwise.simulator.tables import draw_of, group_of, instance_of, request_of


@part
def choose(s: Any, group: int, request: int, now: float, policy: Any, params: Any) -> int:
    """The instance of `group` with the lowest cost, ties to the lowest index."""
    members = group_of(s, group)
    request_of(s, request).sequence = members.decisions
    request_of(s, request).draw = draw_of(s, s.draws_used % s.draw_count).value
    members.decisions += 1
    s.draws_used += 1
    if members.way == SCAN:
        best = scan(s, group, request, now, policy, params)
    elif members.way == STATIC:
        best = lead(s, group, request, now, policy, params)
    elif members.way == MONOTONE:
        update(s, group)
        best = search(s, group, request, now, policy, params)
    elif members.way == TURN:
        best = members.first + request_of(s, request).sequence % members.count
    else:
        best = drawn(s, group, request, now, policy, params)
    note(s, ROUTED, request, best, request_of(s, request).job_images, 0)
    instance_of(s, best).assigned += 1
    instance_of(s, best).waiting += 1
    note_change(s, best)
    return best


@part
def scan(s: Any, group: int, request: int, now: float, policy: Any, params: Any) -> int:
    """Every instance is asked about."""
    members = group_of(s, group)
    best, best_cost = members.first, np.inf
    for instance in range(members.first, members.first + members.count):
        cost = policy(request_of(s, request), instance_of(s, instance), now, params)
        if cost < best_cost:
            best, best_cost = instance, cost
    return best


@part
def refresh_backlog(s: Any, instance: int) -> None:
    """Recompute backlog_s from the counts, so that no rounding accumulates and an idle instance shows exactly 0."""
    seen = instance_of(s, instance)
    tiles = seen.pending_tiles - seen.in_service_tiles
    tokens = seen.pending_prompt_tokens - seen.in_service_prompt_tokens
    seen.backlog_s = tiles * seen.encode_s_per_tile + tokens * seen.prefill_s_per_token
    note_change(s, instance)


@part
def order_of(request: int, ordinal: int) -> int:
    """The tie-break of queues: requests are numbered in order of arrival."""
    return int(request) * 65536 + ordinal
