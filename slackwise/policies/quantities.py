"""Quantities that several policies read off the records. Plain Python for Python, compiled with the policy."""

from __future__ import annotations

import math

from slackwise.policies.compilation import policy_helper
from slackwise.policies.declare import Instance, Request


@policy_helper
def busy_left_s(instance: Instance, now: float) -> float:
    """Seconds until the running step of encode or prefill work ends, 0 if there is none."""
    left = float(instance.busy_until_s) - now
    return left if left > 0.0 else 0.0


@policy_helper
def step_done(instance: Instance, now: float) -> float:
    """Share of the running step that is over, in [0, 1]; 1 if none runs."""
    length = float(instance.busy_until_s) - float(instance.busy_since_s)
    left = busy_left_s(instance, now)
    if left == 0.0 or length <= 0.0:
        return 1.0
    return 1.0 - left / length if left < length else 0.0


@policy_helper
def fewest_requests(instance: Instance) -> float:
    """n_j / (1 + n_j), n_j = waiting + running: under 1, so that beside whole tokens it breaks ties and no more."""
    requests = float(instance.waiting + instance.running)
    return requests / (1.0 + requests)


@policy_helper
def service_s(request: Request, score: float) -> float:
    """[s_r] predicted seconds of encode, transfer and prefill still to do, at the quantile of the normal score `score`.

    The estimates are medians of a log-normal with spread `estimate_sigma`: the quantile is sum * exp(score * sigma).
    """
    median = float(request.encode_estimate_s + request.transfer_estimate_s + request.prefill_estimate_s)
    if score == 0.0:
        return median
    return median * math.exp(score * float(request.estimate_sigma))
