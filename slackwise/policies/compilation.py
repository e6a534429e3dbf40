"""From a plain Python policy to machine code: one signature for all, cached on disk, refusals that name the line."""

from __future__ import annotations

import linecache
import re
import zlib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from types import CodeType, FunctionType
from typing import Any, TypeVar

import numba
from numba import float64, from_dtype, types
from numba.core.errors import NumbaError
from numba.extending import register_jitable

from slackwise.errors import InputError
from slackwise.policies.features import INSTANCE, REQUEST

Function = TypeVar("Function", bound=Callable[..., Any])

SIGNATURE = float64(from_dtype(REQUEST), from_dtype(INSTANCE), float64, float64[::1])
"""Of every routing, batching and chunking policy: (request, instance, now, params) -> float64."""

POLICY = types.FunctionType(SIGNATURE)
"""The type under which a kernel takes a policy: changing the policy compiles nothing else."""


def policy_helper(function: Function) -> Function:
    """Let policies call `function`: plain Python for Python, part of the machine code when a policy compiles."""
    jitable: Function = register_jitable(function)
    return jitable


def compile_policy(function: Callable[..., float]) -> Callable[..., float]:
    """`function` as machine code under SIGNATURE, cached beside its source (or in the user's Numba cache).

    With NUMBA_DISABLE_JIT=1 the function itself. Raises InputError with the offending line and the features if it
    does not compile. fastmath is off and division follows IEEE, so that plain and compiled agree bit for bit.
    """
    if numba.config.DISABLE_JIT:
        return function
    try:
        return _jitted(_stamped(function))
    except NumbaError as error:
        raise InputError(_refusal(function, error)) from None


def _jitted(function: Callable[..., float]) -> Callable[..., float]:
    try:
        return numba.njit(SIGNATURE, cache=True, error_model="numpy")(function)  # type: ignore[no-any-return]
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return numba.njit(SIGNATURE, error_model="numpy")(function)  # type: ignore[no-any-return]


def _stamped(function: Callable[..., float]) -> Callable[..., float]:
    """A copy whose qualified name, and so its place in the cache, changes with everything it was compiled from.

    Numba looks at a function's own file alone: without the stamp, an edit to a helper in another file would leave
    the old machine code in use.
    """
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__module__ = function.__module__
    copy.__qualname__ = f"{function.__qualname__}_{zlib.crc32(repr(list(_ingredients(function, set()))).encode()):08x}"
    return copy


def _ingredients(function: Any, seen: set[CodeType]) -> Iterator[object]:
    """The code of `function`, the constants it reads, and the same of every function it calls."""
    code: CodeType = function.__code__
    if code in seen:
        return
    seen.add(code)
    yield code.co_code
    yield [each for each in code.co_consts if not isinstance(each, str | CodeType)]
    for name in code.co_names:
        value = function.__globals__.get(name)
        value = getattr(value, "py_func", value)
        if isinstance(value, FunctionType):
            yield from _ingredients(value, seen)
        elif isinstance(value, int | float | bool):
            yield name, value


def _refusal(function: Callable[..., float], error: NumbaError) -> str:
    """One line: which policy, which line of it, why, and what a policy may read."""
    code = function.__code__
    line = getattr(error.loc, "line", None) or code.co_firstlineno
    text = linecache.getline(code.co_filename, line).strip()
    where = f"{code.co_filename}:{line}"
    return f"policy '{function.__name__}' does not compile at {where}: `{text}`: {_reason(error)} {_features()}"


def _reason(error: NumbaError) -> str:
    message = str(error)
    missing = re.search(r"Unknown attribute '(\w+)' of type Record", message)
    if missing:
        close = get_close_matches(missing[1], [*(REQUEST.names or ()), *(INSTANCE.names or ())], n=1)
        return f"no feature '{missing[1]}'" + (f", did you mean '{close[0]}'?" if close else ".")
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Failed in", "No implementation of function", "- "))]
    return (telling or lines or [type(error).__name__])[0].rstrip(".") + "."


def _features() -> str:
    return f"Features of request: {', '.join(REQUEST.names or ())}; of instance: {', '.join(INSTANCE.names or ())}"
