"""Many ranks in one compiled call: the policy's own machine code over rows of the table of requests."""

from __future__ import annotations

from typing import Any

import numba
from numba import float64, from_dtype, int64, void

from slackwise.policies.compilation import POLICY, stamped
from slackwise.policies.features import INSTANCE, REQUEST


def _rank_rows(policy: Any, table: Any, rows: Any, instance: Any, now: float, params: Any, ranks: Any) -> None:
    """Write the policy's rank of table[rows[i]] into ranks[i]."""
    for at in range(rows.shape[0]):
        ranks[at] = policy(table[rows[at]], instance, now, params)


_REQUESTS, _INSTANCE, _FLOATS = from_dtype(REQUEST)[::1], from_dtype(INSTANCE), float64[::1]
_SIGNATURE = void(POLICY, _REQUESTS, int64[::1], _INSTANCE, float64, _FLOATS, _FLOATS)

rank_rows = (
    _rank_rows
    if numba.config.DISABLE_JIT
    else numba.njit(_SIGNATURE, cache=True, error_model="numpy")(stamped(_rank_rows, REQUEST, INSTANCE))
)
"""rank_rows(policy, table, rows, instance, now, params, ranks): changing the policy compiles nothing else."""
