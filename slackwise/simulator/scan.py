"""Routing by asking about every ready instance: one loop a policy, with the policy's machine code inside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import float64, from_dtype, int64, types

from slackwise.jit import compiled, part
from slackwise.policies.compilation import stamped
from slackwise.policies.declare import Policy
from slackwise.policies.features import INSTANCE, REQUEST
from slackwise.simulator.state import MEMBER
from slackwise.simulator.tables import member_at, record_at

_SIGNATURE = int64(from_dtype(REQUEST), int64, int64, int64, float64, float64[::1])

SCAN_TYPE = types.FunctionType(_SIGNATURE)
"""(request, address of INSTANCE records, address of the ready MEMBERs, how many, now, params) -> the best of them."""


def _scan(request: Any, records: int, ready: int, count: int, now: float, params: Any) -> int:
    """The ready instance of lowest cost, ties to the lowest index."""
    best, best_cost = member_at(ready, 0).instance, np.inf
    for at in range(count):
        instance = member_at(ready, at).instance
        cost = cost_of(request, record_at(records, instance), now, params)
        if cost < best_cost:
            best, best_cost = instance, cost
    return best


def cost_of(request: Any, instance: Any, now: float, params: Any) -> float:
    """Stands for the policy until its loop is made."""
    raise NotImplementedError


def scan_of(policy: Policy) -> Callable[..., int]:
    """The loop of a routing policy as machine code, cached on disk; plain Python with NUMBA_DISABLE_JIT=1.

    A call a decision instead of a call an instance. Costs compare as the policy compiled alone gives them.
    """
    if numba.config.DISABLE_JIT:
        return _around(policy.compiled, policy.name)
    _ = policy.compiled  # refuses what does not compile, in words
    return _compiled(policy.function, policy.name)


@cache
def _compiled(function: Callable[..., float], name: str) -> Callable[..., int]:
    return compiled(_SIGNATURE)(stamped(_around(part(function), name), INSTANCE, MEMBER))


def _around(inside: Callable[..., float], name: str) -> FunctionType:
    """A copy of the loop in which `cost_of` is the policy."""
    loop = FunctionType(_scan.__code__, _scan.__globals__ | {"cost_of": inside}, f"scan_{name}")
    loop.__module__, loop.__qualname__ = __name__, f"scan_{name}"
    return loop
