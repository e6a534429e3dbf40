"""Many runs moved in one call: the kernel over one clock after another.

Handing seventeen functions and arrays to compiled code costs some 150 us; here once for all lanes. The kernel itself
comes in as a function too, so that nothing of it is compiled again.
"""

from __future__ import annotations

from typing import Any

from numba import float64, from_dtype, int64, types

from slackwise.jit import compiled
from slackwise.policies.compilation import POLICY, stamped
from slackwise.simulator.kernel import _SIGNATURE
from slackwise.simulator.scan import SCAN_TYPE
from slackwise.simulator.state import CLOCK


def _drive(
    kernel: Any,
    clocks: Any,
    until_s: Any,
    status: Any,
    encode_routing: Any,
    encode_batching: Any,
    chunking: Any,
    routing: Any,
    batching: Any,
    decode_routing: Any,
    admission: Any,
    encode_scan: Any,
    scan: Any,
    decode_scan: Any,
    encode_routing_params: Any,
    encode_batching_params: Any,
    chunking_params: Any,
    routing_params: Any,
    batching_params: Any,
    decode_routing_params: Any,
    admission_params: Any,
) -> None:
    """Run each clock up to its `until_s`; `status` says how each run ended."""
    for lane in range(len(clocks)):
        status[lane] = kernel(
            clocks[lane : lane + 1],
            until_s[lane],
            encode_routing,
            encode_batching,
            chunking,
            routing,
            batching,
            decode_routing,
            admission,
            encode_scan,
            scan,
            decode_scan,
            encode_routing_params,
            encode_batching_params,
            chunking_params,
            routing_params,
            batching_params,
            decode_routing_params,
            admission_params,
        )


_KERNEL = types.FunctionType(_SIGNATURE)
_CLOCKS = from_dtype(CLOCK)[::1]
_DECIDERS = (*([POLICY] * 7), *([SCAN_TYPE] * 3), *([float64[::1]] * 7))
drive = compiled(types.void(_KERNEL, _CLOCKS, float64[::1], int64[::1], *_DECIDERS))(stamped(_drive, repr(CLOCK)))
"""drive(kernel.run, clocks, until_s, status, *functions, *params): CLOCK (k,), float64 (k,), int64 (k,)."""
