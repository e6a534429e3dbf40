"""Routing: which instance gets the work, and what its record shows afterwards; who waits while none is ready."""

from __future__ import annotations

from typing import Any

from slackwise.jit import part
from slackwise.policies.features import NOT_QUEUED
from slackwise.policies.lookup import MONOTONE, SCAN, STATIC, TURN
from slackwise.simulator.ask import ask_all
from slackwise.simulator.cache import show_cached
from slackwise.simulator.index import drawn, lead, note_change, search, update
from slackwise.simulator.log import ROUTED, note
from slackwise.simulator.tables import draw_of, group_of, instance_of, progress_of, ready_at, ready_list, request_of


@part
def choose(s: Any, group: int, request: int, now: float) -> int:
    """The ready instance of `group` with the lowest cost, ties to the lowest index; there has to be one.

    The caller counts and notes the work.
    """
    members = group_of(s, group)
    request_of(s, request).sequence = members.decisions
    request_of(s, request).queued_s = NOT_QUEUED
    request_of(s, request).draw = draw_of(s, s.draws_used % s.draw_count).value
    members.decisions += 1
    s.draws_used += 1
    if members.way == SCAN:
        if s.caching == 1:
            show_cached(s, group, request, 1)
        best = ask_all(s, members.role, request_of(s, request), ready_list(s, group), members.ready, now)
        if s.caching == 1:
            show_cached(s, group, request, 0)
    elif members.way == STATIC:
        best = lead(s, group, request, now, members.role)
    elif members.way == MONOTONE:
        update(s, group)
        best = search(s, group, request, now, members.role)
    elif members.way == TURN:
        best = ready_at(s, group, request_of(s, request).sequence % members.ready).instance
    else:
        best = drawn(s, group, request, now, members.role)
    note(s, ROUTED, request, best, request_of(s, request).job_images, 0)
    instance_of(s, best).assigned += 1
    return best


@part
def park(s: Any, group: int, request: int) -> None:
    """Let a request wait until an instance of `group` is ready."""
    members = group_of(s, group)
    if members.parked == 0:
        members.parked_first = request
    else:
        progress_of(s, members.parked_last).next_parked = request
    members.parked_last = request
    members.parked += 1


@part
def unpark(s: Any, group: int) -> int:
    """Take off whoever has waited longest for an instance of `group`."""
    members = group_of(s, group)
    request: int = members.parked_first
    members.parked_first = progress_of(s, request).next_parked
    progress_of(s, request).next_parked = -1
    members.parked -= 1
    return request


@part
def refresh_backlog(s: Any, instance: int) -> None:
    """Recompute backlog_s from the counts, so that no rounding accumulates and an idle instance shows exactly 0."""
    seen = instance_of(s, instance)
    tiles = seen.pending_tiles - seen.in_service_tiles
    tokens = seen.pending_prompt_tokens - seen.in_service_prompt_tokens
    seen.backlog_s = work_seconds(seen, tiles, tokens)
    note_change(s, instance)


@part
def refresh_composing(s: Any, instance: int) -> None:
    """The same while the instance composes a step: until it is done, what the step has taken counts as waiting."""
    seen = instance_of(s, instance)
    seen.backlog_s = work_seconds(seen, seen.pending_tiles, seen.pending_prompt_tokens)
    note_change(s, instance)


@part
def work_seconds(seen: Any, tiles: int, tokens: int) -> float:
    """Predicted seconds of so many tiles to encode and tokens to prefill on an instance."""
    return tiles * seen.encode_s_per_tile + tokens * seen.prefill_s_per_token


@part
def order_of(request: int, ordinal: int) -> int:
    """The tie-break of queues: requests are numbered in order of arrival."""
    return int(request) * 65536 + ordinal
