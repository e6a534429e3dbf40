"""What travels between instances: image embeddings to the prefill, KV caches to the decode."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.jit import part
from slackwise.policies.hashing import random_word
from slackwise.simulator import heap
from slackwise.simulator.log import SENT, note
from slackwise.simulator.tables import engine_of, instance_of, job_of, progress_of, request_of

TO_QUEUE, RELEASE, PART, LOST, FOUND = 0, 1, 2, 3, 4
"""Kinds of deliveries: a request joins the queue of its instance; the instance that prefilled it frees its KV cache;
the embeddings of one of its jobs have come (overlap); the last transfer that it may lose is lost; a job is done without
work, its embeddings were kept."""
KIND_BITS, KIND = 3, 7
"""A delivery is told by one number: the request, or the job of a PART or FOUND, shifted by KIND_BITS, and the kind."""


MOST_TRIES = 1024
"""More than any transfer is sent in a row."""


@part
def send(s: Any, ident: int, request: int, kind: int, arrives_s: float) -> None:
    """Schedule a delivery of a request, or of a job (`ident`) of it; at one time by request, then kind."""
    if kind == TO_QUEUE:
        note(s, SENT, request, progress_of(s, request).instance, 0, 0)
    elif kind == PART:
        note(s, SENT, request, progress_of(s, request).instance, job_of(s, ident).images, 0)
    order = (int(request) << KIND_BITS) + kind
    heap.push(s.transfers_at, s.transfers, arrives_s, order, (int(ident) << KIND_BITS) + kind)
    s.transfers += 1


@part
def transmit(s: Any, request: int, source: int, seconds: float, now: float) -> float:
    """Send what a request needs from `source` to its instance; when it is there, infinite if it is lost for good.

    A lost transfer is sent again after the timeout; how often is settled when it is sent.
    """
    seconds *= link_factor(s, source, progress_of(s, request).instance)
    lost = losses(s, request) if s.loss_word > 0 else 0
    begun_s = now + lost * s.timeout_s
    if lost > 0 and lost == s.tries:
        send(s, request, request, LOST, begun_s)
        return np.inf
    send(s, request, request, TO_QUEUE, begun_s + seconds)
    return begun_s + seconds


@part
def send_embeddings(s: Any, request: int, now: float) -> None:
    """Send all embeddings of a request to its instance, as from the encoder of its last image."""
    progress_of(s, request).to_send = 0
    transmit(s, request, progress_of(s, request).encoder, embeddings_s(s, request), now)


@part
def link_factor(s: Any, source: int, target: int) -> float:
    """How much longer a transfer takes: as the slower end of its link says."""
    return max(engine_of(s, source).link, engine_of(s, target).link)


@part
def losses(s: Any, request: int) -> int:
    """How many transfers in a row are lost before one arrives: a hash of the request, its transfers so far and each."""
    progress, lost = progress_of(s, request), 0
    progress.sends += 1
    while lost < s.tries and random_word(progress.luck, progress.sends * MOST_TRIES + lost) < s.loss_word:
        lost += 1
    return lost


NOWHERE, SEVERAL = -1, -2
"""Instead of the server of a request's embeddings: there are none yet, or they lie on several servers."""


@part
def note_server(s: Any, request: int, encoder: int) -> None:
    """Remember where a job's embeddings lie."""
    progress, server = progress_of(s, request), engine_of(s, encoder).server
    if progress.encode_server == NOWHERE:
        progress.encode_server = server
    elif progress.encode_server != server:
        progress.encode_server = SEVERAL


@part
def embeddings_s(s: Any, request: int) -> float:
    """Seconds to move a request's embeddings to its instance: NVLink if all lie on its server, else the slower link."""
    progress = progress_of(s, request)
    if progress.encode_server == engine_of(s, progress.instance).server:
        return progress.near_transfer_s
    return progress.transfer_s


@part
def part_s(s: Any, job: int) -> float:
    """Seconds to move the embeddings of one job: the latency of its link, and its images' share of the rest."""
    request, share = job_of(s, job).request, job_of(s, job).images / request_of(s, job_of(s, job).request).images
    progress, encoder = progress_of(s, request), job_of(s, job).encoder
    factor = link_factor(s, encoder, progress.instance)
    if engine_of(s, encoder).server == engine_of(s, progress.instance).server:
        return (s.near_kv_link_s + (progress.near_transfer_s - s.near_kv_link_s) * share) * factor
    return (s.kv_link_s + (progress.transfer_s - s.kv_link_s) * share) * factor


@part
def kv_cache_s(s: Any, request: int, source: int) -> float:
    """Seconds to move a request's KV cache from `source` to its instance; every GPU of the source sends its part."""
    progress, senders = progress_of(s, request), instance_of(s, source).tensor_parallel
    tokens = progress.target_tokens + progress.image_kv_tokens
    if engine_of(s, source).server == engine_of(s, progress.instance).server:
        return s.near_kv_link_s + s.near_kv_link_s_per_token * tokens / senders
    return s.kv_link_s + s.kv_link_s_per_token * tokens / senders
