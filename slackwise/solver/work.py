"""The least that a request takes of an instance, whatever the policies: the ground of every bound.

A step costs, by latency/costs.py, `share (step + linear[tokens]) + kv KV + attention pairs + encode_step + tile tiles`.
Over all steps of an instance, each token pays at least the smallest linear[n] / n of any step size n, each tile its
`tile`, a prompt of L tokens exactly L^2 / 2 pairs however it is cut, and a decode the KV cache that it reads. What
steps share (overheads) is left out, so the seconds below are a lower bound of what the instance spends on the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class LeastWork:
    """Seconds of an instance of one pool, each of shape (n,)."""

    encode_s: Seconds  # all images
    prefill_s: Seconds  # the whole prompt
    decode_s: Seconds  # every token but the first
    step_s: Seconds  # overhead of the one step that every prompt needs, which others may share


def least_work(requests: Any, progress: Any, costs: Any, linear_s: Any) -> LeastWork:
    """The least work of `requests` (REQUEST and PROGRESS records) on a pool of these COSTS and linear-layer seconds."""
    share = np.where(requests.images > 0, 1.0, float(costs["text_only_share"]))
    token_s = cheapest_token_s(costs, linear_s)
    prompt = requests.prompt_tokens.astype(np.float64)
    prefill = share * token_s * (prompt + progress.extra_tokens)
    prefill += float(costs["attention_s_per_pair"]) * 0.5 * prompt**2
    decodes = np.maximum(0, progress.output_tokens - 1).astype(np.float64)
    context = (prompt + progress.image_kv_tokens) * decodes + 0.5 * decodes * (decodes - 1.0)
    decode = share * token_s * decodes + float(costs["kv_s_per_token"]) * context
    tiles = requests.images.astype(np.float64) * requests.tiles_per_image
    encode = float(costs["encode_s_per_tile"]) * tiles
    return LeastWork(encode, prefill, decode, share * float(costs["step_s"]))


def cheapest_token_s(costs: Any, linear_s: Any) -> float:
    """The least linear-layer seconds a token can cost in a step of any size: min over n of linear[n] / n."""
    if len(linear_s) < 2:
        return 0.0
    per_token = np.asarray(linear_s[1:]) / np.arange(1, len(linear_s))
    return float(min(per_token.min(), float(costs["linear_slope_s"])))
