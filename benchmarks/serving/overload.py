"""Open-loop load at 1, 2 and 4 times what the fleet can serve: answers, refusals, and that nobody waits for ever.

    python benchmarks/serving/overload.py TRACE --out overload

Capacity is what the simulator serves when all requests are there at the beginning. The endpoint takes 64 requests at a
time (`requests_at_once`). Written: OUT.json and OUT.md. Exits with 5 if a request was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fleet import configuration, fleet, machine, objectives, publish, say
from load import Ask, asks_of, drive, outcomes, ttft

from slackwise.simulator import Configuration, Simulation, result_of
from slackwise.traces import Trace, read

ENCODERS, TEXTS, SPEED, AT_ONCE = 2, 1, 1.0, 64
SECONDS, LIMIT_S, FACTORS = 60.0, 240.0, (1.0, 2.0, 4.0)


def capacity(trace: Trace, configured: Configuration) -> float:
    """Requests a second of a fleet that never idles."""
    crowd = replace(trace, arrival_s=np.zeros(len(trace)))
    simulation = Simulation(crowd, configured, objectives(configured))
    simulation.run_until(math.inf)
    result = result_of(simulation)
    return len(trace) / float(np.nanmax(result.end_to_end_s))


def at_rate(asks: Sequence[Ask], rate: float) -> list[Ask]:
    """The requests in the trace's order, evenly spaced, for SECONDS."""
    return [replace(each, at_s=at / rate) for at, each in enumerate(asks[: int(rate * SECONDS)])]


def main() -> None:
    """Load the fleet more and more and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    trace, configured = read(options.trace).take(slice(0, 2000)), configuration(ENCODERS, TEXTS)
    rate, asks = SPEED * capacity(trace.take(slice(0, 500)), configured), asks_of(trace, configured)
    rows = []
    with fleet(configured, SPEED, requests_at_once=AT_ONCE, images_per_request=256) as running:
        asyncio.run(drive(running.endpoint, [Ask(0.2 * at, at % 3, 100, 4) for at in range(20)], 60.0))
        for factor in FACTORS:
            began = time.monotonic()
            records = asyncio.run(drive(running.endpoint, at_rate(asks, factor * rate), LIMIT_S))
            statuses = Counter(str(each.status) for each in records)
            rows.append(
                {"factor": factor, "rate": round(factor * rate, 2), **outcomes(records), "statuses": dict(statuses)}
                | {"ttft_s": ttft(records), "wall_s": round(time.monotonic() - began, 1)}
                | {"load_average": machine()["load_average"]}
            )
            say(str(rows[-1]))
    document: dict[str, Any] = {"fleet": configured.cluster.describe(), "speed": SPEED, "at_once": AT_ONCE}
    publish(options.out, document | {"rows": rows, "machine": machine()}, table(rows))
    if any(each["lost"] for each in rows):
        sys.exit(5)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = [
        f"{ENCODERS} encoders, {TEXTS} text replica, at most {AT_ONCE} requests under way, {SECONDS:g} s of load each.",
        "",
        "| times capacity | requests/s | sent | answered | 429 | failed | lost | TTFT P50, P90, P99 [s] | load |",
        "|---:|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for each in rows:
        quantiles = ", ".join(f"{value:.2f}" for value in each["ttft_s"].values())
        counts = " | ".join(str(each[name]) for name in ("sent", "answered", "refused", "failed", "lost"))
        lines.append(f"| {each['factor']:g} | {each['rate']} | {counts} | {quantiles} | {each['load_average']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
