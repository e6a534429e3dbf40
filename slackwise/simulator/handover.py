"""From prefill to decode on another instance: the KV cache travels, and is held until it has arrived."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.jit import part
from slackwise.policies.features import PREFILL
from slackwise.simulator.admission import fail
from slackwise.simulator.dispatch import choose, park, refresh_backlog
from slackwise.simulator.index import note_change
from slackwise.simulator.log import RELEASED, note
from slackwise.simulator.queueing import interrupt, unassign
from slackwise.simulator.state import DECODING, DRAINING, LOST_FOR_GOOD
from slackwise.simulator.tables import engine_of, group_of, instance_of, progress_of
from slackwise.simulator.transfer import RELEASE, kv_cache_s, send, transmit


@part
def hand_over(s: Any, instance: int, request: int, now: float) -> None:
    """A prefilled request moves on to a decode instance; its KV cache is held until it has come there."""
    progress_of(s, request).holder = instance
    instance_of(s, instance).running -= 1
    if group_of(s, DECODING).ready == 0:
        park(s, DECODING, request)
    else:
        send_kv(s, request, now)


@part
def send_kv(s: Any, request: int, now: float) -> None:
    """Route a prefilled request to a decode instance and send its KV cache."""
    progress = progress_of(s, request)
    progress.instance = choose(s, DECODING, request, now)
    instance_of(s, progress.instance).waiting += 1
    note_change(s, progress.instance)
    arrives_s = transmit(s, request, progress.holder, kv_cache_s(s, request, progress.holder), now)
    if arrives_s < np.inf:
        send(s, request, request, RELEASE, arrives_s)


@part
def lose(s: Any, request: int, now: float) -> None:
    """The last transfer that a request may lose is lost: it is given up."""
    instance, seen = progress_of(s, request).instance, instance_of(s, progress_of(s, request).instance)
    if seen.stages & PREFILL:
        unassign(s, instance, request)
    else:
        seen.waiting -= 1
    refresh_backlog(s, instance)
    if progress_of(s, request).holder >= 0:
        release(s, request, now)
    fail(s, request, LOST_FOR_GOOD, now)
    if engine_of(s, instance).status == DRAINING:
        interrupt(s, instance, now)


@part
def release(s: Any, request: int, now: float) -> None:
    """Free the KV cache of a request that has moved on."""
    progress = progress_of(s, request)
    instance = progress.holder
    note(s, RELEASED, request, instance, 0, 0)
    progress.holder = -1
    engine = engine_of(s, instance)
    engine.kv_used_tokens -= progress.target_tokens + progress.image_kv_tokens
    instance_of(s, instance).kv_used_tokens = engine.kv_used_tokens
    note_change(s, instance)
    interrupt(s, instance, now)
