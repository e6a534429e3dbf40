"""What a step costs, as the simulator asks it: a few multiplications and one table look-up.

    step = fixed + linear[tokens] + kv * (KV tokens read) + attention * (pairs) + encode
    encode = encode_fixed + encode_per_tile * tiles          (only if the step encodes)

With the batch fixed, only the KV tokens move from one decode step to the next, by one a sequence: the step time is
linear in the step number, which is what lets the simulator leap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.jit import compiled

COSTS = np.dtype(
    [
        ("step_s", "f8"),  # any step with prompt or decode tokens: launch and per-layer overheads, all-reduce latency
        ("linear_slope_s", "f8"),  # seconds per token beyond the end of the table
        ("kv_s_per_token", "f8"),  # reading the KV cache of one token in decode
        ("attention_s_per_pair", "f8"),  # prefill attention of one new token on one context token
        ("encode_step_s", "f8"),  # any step that encodes
        ("text_only_share", "f8"),  # of step_s and the linear layers when no request of the step has an image
        ("encode_s_per_tile", "f8"),  # one padded tile (for models of native resolution: one image)
    ],
    align=True,
)


@dataclass(frozen=True)
class StepCosts:
    """Cost of a step of one kind of instance: a COSTS record, the table of linear-layer seconds, and their source."""

    record: np.void  # dtype COSTS
    linear_s: NDArray[np.float64]  # [n] = seconds of all linear layers for n tokens in the step, [0] = 0
    kv_capacity_tokens: int  # KV cache of one instance, in text tokens
    load_s: float  # seconds to start an instance
    source: str  # where every number is from, printed with results

    @property
    def text_only_share(self) -> float:
        """Share of step_s and the linear layers that a step pays when no request of it has an image.

        Such a step skips the cross-attention layers (vLLM's Llama 3.2 Vision); 1 for decoder-only models.
        """
        return float(self.record["text_only_share"])


@compiled()
def linear_seconds(costs: Any, linear_s: Any, tokens: Any) -> Any:
    """Seconds of the linear layers for `tokens` tokens: the table, then its last slope."""
    last = linear_s.shape[0] - 1
    if tokens <= last:
        return linear_s[tokens]
    return linear_s[last] + costs.linear_slope_s * (tokens - last)


@compiled()
def base_seconds(costs: Any, linear_s: Any, tokens: Any, text_only: Any) -> Any:
    """Seconds of a step with `tokens` tokens, attention left out; `text_only` if no request of it has an image."""
    share = costs.text_only_share if text_only else 1.0
    return share * (costs.step_s + linear_seconds(costs, linear_s, tokens))


@compiled()
def step_seconds(costs: Any, linear_s: Any, tokens: Any, kv_tokens: Any, pairs: Any, tiles: Any, text_only: Any) -> Any:
    """Seconds of a step: `tokens` decode and prompt tokens, `kv_tokens` read by decodes, `pairs` of prefill attention.

    `pairs` = sum over chunks of new * (done + new / 2); `tiles` = padded tiles encoded in the step.
    """
    seconds = 0.0
    if tokens > 0:
        seconds += base_seconds(costs, linear_s, tokens, text_only)
        seconds += costs.kv_s_per_token * kv_tokens + costs.attention_s_per_pair * pairs
    if tiles > 0:
        seconds += costs.encode_step_s + costs.encode_s_per_tile * tiles
    return seconds
