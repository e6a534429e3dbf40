"""Who pays: the longest waits, and how unlike the classes of requests fare."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator.result import Result
from slackwise.simulator.stages import WAITS
from slackwise.simulator.state import CLASSES


def waited_s(result: Result) -> NDArray[np.float64]:
    """Seconds that each request waited in queues before its first token, shape (n,); 0 if it never began."""
    before = [result.stages[name] for name in WAITS if name in result.stages and name != "decode_wait"]
    return np.asarray(np.nansum(before, axis=0))


def starvation(result: Result) -> dict[str, Any]:
    """The worst wait: `longest_wait_s` of any request that got a token, and `over_objective`, the largest ratio of a
    wait to the request's own TTFT objective, with its place in the trace; None if nobody was served."""
    served = np.flatnonzero(np.isfinite(result.ttft_s))
    if len(served) == 0:
        return {"longest_wait_s": None, "over_objective": None, "request": None}
    waits = waited_s(result)[served]
    ratios = waits / result.ttft_objective_s[served]
    worst = int(np.argmax(ratios))
    longest, ratio = float(waits.max()), float(ratios[worst])
    return {"longest_wait_s": longest, "over_objective": ratio, "request": int(served[worst])}


def fairness(result: Result) -> dict[str, float | None]:
    """How evenly the classes fare; 1 is even, None with less than two classes.

    `attainment_ratio` = lowest attainment of a class / highest. `jain` = (sum x)^2 / (k sum x^2) over the k classes
    (Jain, Chiu & Hawe 1984), x = the mean of TTFT / TTFT objective over the requests of the class that got a token: 1/k
    if one class has all of the delay.
    """
    rows = [result.category == at for at in range(len(CLASSES))]
    members = [each for each in rows if each.any()]
    met = [float(result.met[each].mean()) for each in members]
    served = [each & np.isfinite(result.ttft_s) for each in members]
    delays = np.array([(result.ttft_s[each] / result.ttft_objective_s[each]).mean() for each in served if each.any()])
    several = len(members) > 1
    return {
        "attainment_ratio": min(met) / max(met) if several and max(met) > 0 else None,
        "jain": float(delays.sum() ** 2 / (len(delays) * (delays**2).sum())) if len(delays) > 1 else None,
    }
