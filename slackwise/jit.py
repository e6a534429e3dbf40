"""One door to Numba: explicit signatures, cached on disk, plain Python under NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(signature: Any = None) -> Callable[[Function], Function]:
    """Compile to machine code, cached beside the source; with a signature at import, without at first call.

    fastmath stays off and division by zero follows IEEE: the plain Python of the reference must agree.
    """

    def decorate(function: Function) -> Function:
        options: dict[str, Any] = {"cache": True, "error_model": "numpy"}
        jitted = numba.njit(**options)(function) if signature is None else numba.njit(signature, **options)(function)
        return jitted  # type: ignore[no-any-return]

    return decorate
