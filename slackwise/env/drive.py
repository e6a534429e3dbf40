"""Many runs moved in one call: the kernel over one clock after another.

The kernel itself comes in as a function, so that nothing of it is compiled again.
"""

from __future__ import annotations

from typing import Any

from numba import float64, from_dtype, int64, types

from slackwise.jit import compiled
from slackwise.policies.compilation import stamped
from slackwise.simulator.kernel import SIGNATURE
from slackwise.simulator.state import CLOCK


def _drive(kernel: Any, clocks: Any, until_s: Any, status: Any) -> None:
    """Run each clock up to its `until_s`; `status` says how each run ended."""
    for lane in range(len(clocks)):
        status[lane] = kernel(clocks[lane : lane + 1], until_s[lane])


_CLOCKS = from_dtype(CLOCK)[::1]
drive = compiled(types.void(types.FunctionType(SIGNATURE), _CLOCKS, float64[::1], int64[::1]))(
    stamped(_drive, repr(CLOCK))
)
"""drive(kernel.run, clocks, until_s, status): CLOCK (k,), float64 (k,), int64 (k,)."""
