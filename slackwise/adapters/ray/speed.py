"""Seconds of a routing decision, features and counting included: python -m slackwise.adapters.ray.speed winner.json"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Sequence

import numpy as np

from slackwise.adapters.ray.routing import PoolRouter
from slackwise.adapters.ray.workload import Asked, work_for
from slackwise.policies.features import ENCODE
from slackwise.policies.winner import Winner, read_winner, versions

REPLICAS = (4, 16, 64, 256)
DECISIONS, WARM_UP = 4000, 200


def decision_us(winner: Winner, replicas: int) -> dict[str, float]:
    """Quantiles in microseconds of an encode job: of `choose` alone, and with its features and its end (`whole`)."""
    work = work_for(winner, 1)
    router = PoolRouter(winner.policies, "encode_routing", work, ENCODE)
    router.members(f"replica-{at}" for at in range(replicas))
    asked = Asked(({"type": "image_url"},), 400, None)
    chosen_s, whole_s = [], []
    for at in range(DECISIONS + WARM_UP):
        began = time.perf_counter()
        job = work.job(work.request(asked, float(at)))
        ready = time.perf_counter()
        choice = router.choose(job, float(at))
        chosen = time.perf_counter()
        router.back(choice, float(at))
        chosen_s.append(chosen - ready)
        whole_s.append(time.perf_counter() - began)
    quantiles: dict[str, float] = {}
    for name, seconds in (("choose", chosen_s[WARM_UP:]), ("whole", whole_s[WARM_UP:])):
        p50, p99 = np.quantile(np.array(seconds) * 1e6, [0.5, 0.99])
        quantiles |= {f"{name}_p50_us": round(float(p50), 1), f"{name}_p99_us": round(float(p99), 1)}
    return quantiles


def main(arguments: Sequence[str]) -> None:
    """Print a JSON document with the figures of the bundle's encode routing for each number of replicas."""
    winner = read_winner(arguments[0])
    found = {str(count): decision_us(winner, count) for count in REPLICAS}
    machine = {"processor": platform.processor() or platform.machine(), **versions()}
    name = winner.policies.encode_routing.name
    print(json.dumps({"policy": name, "decisions": DECISIONS, "replicas": found, "machine": machine}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
