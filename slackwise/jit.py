"""One door to Numba: explicit signatures, cached on disk, plain Python under NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

PART_OPTIONS = {"error_model": "numpy", "_nrt": False, "forceinline": True}
"""How parts are compiled: into their callers, without reference counts."""

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(signature: Any = None) -> Callable[[Function], Function]:
    """Compile to machine code, cached beside the source; with a signature at import, without at first call.

    fastmath stays off and division by zero follows IEEE: the plain Python of the reference must agree.
    """
    arguments = () if signature is None else (signature,)

    def decorate(function: Function) -> Function:
        return numba.njit(*arguments, cache=True, error_model="numpy")(function)  # type: ignore[no-any-return]

    return decorate


def called(function: Function) -> Function:
    """Like a part, but called: for what is large or rarely needed."""
    return numba.njit(error_model="numpy", _nrt=False)(function)  # type: ignore[no-any-return]


def part(function: Function) -> Function:
    """Compile into its callers: no signature, no cache of its own, no reference counts, no call."""
    return numba.njit(**PART_OPTIONS)(function)  # type: ignore[no-any-return]
