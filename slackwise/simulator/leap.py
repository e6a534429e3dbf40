"""The leap: any number of decode-only steps of one instance in closed form.

With B sequences decoding and C tokens in their KV caches a step lasts g + k*C, and each step adds B to C, so n steps
last

    T(n) = n*(g + k*C) + k*B*n*(n - 1)/2

and the first step boundary at or after a time is the smallest n with T(n) >= that time: the root of a quadratic.
"""

from __future__ import annotations

import math

from slackwise.jit import part


@part
def leap_seconds(steps: int, base_s: float, kv_s: float, kv_tokens: int, decodes: int) -> float:
    """Seconds that `steps` decode-only steps take; base_s = g, kv_s = k, kv_tokens = C, decodes = B."""
    return steps * (base_s + kv_s * kv_tokens) + kv_s * decodes * (0.5 * steps * (steps - 1))


@part
def steps_to_reach(seconds: float, base_s: float, kv_s: float, kv_tokens: int, decodes: int) -> int:
    """The smallest number of steps, at least 1, that takes `seconds` or more."""
    half = 0.5 * kv_s * decodes
    linear = base_s + kv_s * kv_tokens - half
    root = (
        seconds / linear if half == 0.0 else (math.sqrt(linear * linear + 4.0 * half * seconds) - linear) / (2.0 * half)
    )
    steps = max(1, math.ceil(root - 1e-9))
    while leap_seconds(steps, base_s, kv_s, kv_tokens, decodes) < seconds:
        steps += 1
    while steps > 1 and leap_seconds(steps - 1, base_s, kv_s, kv_tokens, decodes) >= seconds:
        steps -= 1
    return steps
