"""The replica that a routing policy finds cheapest, with the policy inside one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import float64, from_dtype, int64, types
from numba.extending import register_jitable

from slackwise.policies.compilation import around, cost_of, stamped
from slackwise.policies.declare import Policy
from slackwise.policies.features import INSTANCE, REQUEST

SIGNATURE = int64(
    types.Array(from_dtype(REQUEST), 1, "C"), types.Array(from_dtype(INSTANCE), 1, "C"), float64, float64[::1]
)
"""Of a loop: (request (1,), instances (n,), now, params) -> index."""

Loop = Callable[[Any, Any, float, Any], int]


def _cheapest(request: Any, instances: Any, now: float, params: Any) -> int:
    best, best_cost = 0, np.inf
    for at in range(instances.shape[0]):
        cost = cost_of(request[0], instances[at], now, params)
        if cost < best_cost:
            best, best_cost = at, cost
    return best


@cache
def cheapest(policy: Policy) -> Loop:
    """The loop of a routing policy: the index of the lowest cost, ties to the lowest, as the simulator decides.

    Instances are INSTANCE, shape (n,), n at least 1; request REQUEST, shape (1,). Raises InputError if the policy does
    not compile.
    """
    if numba.config.DISABLE_JIT:
        return around(_cheapest, policy.function, policy.name)
    _ = policy.compiled  # refuses what does not compile, in words
    function = stamped(around(_cheapest, register_jitable(policy.function), policy.name), REQUEST, INSTANCE)
    loop: Loop = numba.njit(SIGNATURE, cache=True, error_model="numpy")(function)
    return loop
