"""What travels between instances: image embeddings to the prefill, KV caches to the decode."""

from __future__ import annotations

from typing import Any

from slackwise.jit import part
from slackwise.simulator import heap

TO_QUEUE, RELEASE = 0, 1
"""Kinds of deliveries: a request joins the queue of its instance; the instance that prefilled it frees its KV cache."""


@part
def send(s: Any, request: int, kind: int, arrives_s: float) -> None:
    """Schedule a delivery; at one time by request, then kind."""
    code = int(request) * 2 + kind
    heap.push(s.transfers_at, s.transfers, arrives_s, code, code)
    s.transfers += 1
