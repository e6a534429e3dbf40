"""The least that a request takes of an instance, whatever the policies: the ground of every bound.

A step costs, by latency/costs.py, `share (step + linear[tokens]) + kv KV + attention pairs + encode_step + tile tiles`.
Every line a + b n below step + linear[n] prices tokens: each costs b, and as at most `sequences` requests decode in a
step, each decode a / sequences more. Each tile costs its `tile`, a prompt of L tokens exactly L^2 / 2 pairs however it
is cut, and a decode the KV cache that it reads. The rest of the overheads, which steps share, is left out, so the
seconds below are a lower bound of what the instance spends on the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.simulator.faults import NO_FAULTS

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class LeastWork:
    """Seconds of an instance of one pool, each of shape (n,)."""

    encode_s: Seconds  # all images
    prefill_s: Seconds  # the whole prompt
    decode_s: Seconds  # every token but the first


SLOPES = 65
"""Lines that are tried as prices of tokens."""


def check_plain(run: Any) -> None:
    """Raise InputError for a run that bounds know nothing of: it may reuse earlier work, or instances have faults."""
    if run.state.clock[0].caching:
        raise InputError("bounds hold without reuse only: switch the caches of embeddings and prefixes off")
    if run.configuration.faults != NO_FAULTS:
        raise InputError("bounds hold without faults only: leave them out")


def least_work(requests: Any, progress: Any, costs: Any, pool: Any) -> LeastWork:
    """The least work of `requests` (REQUEST and PROGRESS records) on a pool (a record of the state) of these COSTS."""
    share = np.where(requests.images > 0, 1.0, float(costs["text_only_share"]))
    prompt = requests.prompt_tokens.astype(np.float64)
    tokens = prompt + progress.extra_tokens
    decodes = np.maximum(0, progress.output_tokens - 1).astype(np.float64)
    sequences = int(pool.max_sequences)
    token_s, decode_s = token_prices(costs, pool.linear_s, sequences, float(tokens.sum()), float(decodes.sum()))
    prefill = share * token_s * tokens + float(costs["attention_s_per_pair"]) * 0.5 * prompt**2
    context = (prompt + progress.image_kv_tokens) * decodes + 0.5 * decodes * (decodes - 1.0)
    decode = share * decode_s * decodes + float(costs["kv_s_per_token"]) * context
    tiles = requests.images.astype(np.float64) * requests.tiles_per_image
    return LeastWork(float(costs["encode_s_per_tile"]) * tiles, prefill, decode)


def token_prices(costs: Any, linear_s: Any, sequences: int, prompts: float, decodes: float) -> tuple[float, float]:
    """(seconds of a prompt token, of a decode), of the line under which so many prompt tokens and decodes cost most."""
    if len(linear_s) < 2:
        return 0.0, 0.0
    tokens = np.arange(1, len(linear_s))
    steps = float(costs["step_s"]) + np.asarray(linear_s[1:])
    slopes = np.linspace(0.0, min(float((steps / tokens).min()), float(costs["linear_slope_s"])), SLOPES)
    decode = slopes + np.array([(steps - slope * tokens).min() for slope in slopes]) / sequences
    best = int(np.argmax(prompts * slopes + decodes * decode))
    return float(slopes[best]), float(decode[best])


def cheapest_token_s(costs: Any, linear_s: Any) -> float:
    """The least linear-layer seconds a token can cost in a step of any size: min over n of linear[n] / n."""
    if len(linear_s) < 2:
        return 0.0
    per_token = np.asarray(linear_s[1:]) / np.arange(1, len(linear_s))
    return float(min(per_token.min(), float(costs["linear_slope_s"])))
