"""Distributions and time lines as plain lists, small enough to be kept with a result."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.simulator import Result
from slackwise.simulator.state import CLASSES
from slackwise.tuning.interval import finite

SHARES = 1.0 - 10.0 ** -np.linspace(0.0, 3.0, 61)
"""Shares of requests at which a distribution is written, from 0 to 99.9 %, ever finer in the tail."""


def ttft_curve(result: Result) -> dict[str, list[float | None]]:
    """Class -> TTFT in seconds at each of SHARES (None: never served); classes without requests are left out."""
    found = {}
    for at, name in enumerate(("all", *CLASSES)):
        rows = result.ttft_s if name == "all" else result.ttft_s[result.category == at - 1]
        if len(rows):
            found[name] = [rounded(each) for each in np.quantile(rows, SHARES, method="higher")]
    return found


def rounded(value: Any) -> float | None:
    """Four digits that count, None for infinity: results are kept as text."""
    number = finite(float(value))
    return None if number is None else float(f"{number:.4g}")
