"""From prefill to decode on another instance: the KV cache travels, and is held until it has arrived."""

from __future__ import annotations

from typing import Any

from slackwise.jit import part
from slackwise.simulator.dispatch import choose, park
from slackwise.simulator.index import note_change
from slackwise.simulator.log import RELEASED, note
from slackwise.simulator.queueing import interrupt
from slackwise.simulator.state import DECODING
from slackwise.simulator.tables import engine_of, group_of, instance_of, progress_of
from slackwise.simulator.transfer import RELEASE, TO_QUEUE, kv_cache_s, send


@part
def hand_over(s: Any, instance: int, request: int, now: float, policies: Any) -> None:
    """A prefilled request moves on to a decode instance; its KV cache is held until it has come there."""
    progress_of(s, request).holder = instance
    instance_of(s, instance).running -= 1
    if group_of(s, DECODING).ready == 0:
        park(s, DECODING, request)
    else:
        send_kv(s, request, now, policies)


@part
def send_kv(s: Any, request: int, now: float, policies: Any) -> None:
    """Route a prefilled request to a decode instance and send its KV cache."""
    progress = progress_of(s, request)
    progress.instance = choose(s, DECODING, request, now, policies.decode_routing, policies.decode_routing_params)
    instance_of(s, progress.instance).waiting += 1
    note_change(s, progress.instance)
    arrives_s = now + kv_cache_s(s, request, progress.holder)
    send(s, request, request, TO_QUEUE, arrives_s)
    send(s, request, request, RELEASE, arrives_s)


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
