"""Ten minutes of real requests through an emulated fleet behind Ray, and through the simulator: the same arrivals.

    python benchmarks/serving/against_simulator.py TRACE [--speed 1] [--seconds 600] [--rounds 1] --out OUT

TRACE is the row file of the Azure LMM trace of 2025. Times are seconds of the modelled instances: with a speed below 1
arrivals and steps are stretched alike, so that what Ray adds weighs less. `--rounds 4` sends the same requests four
times in a row, for memory over time. Written: OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from fleet import Fleet, configuration, fleet, machine, objectives, publish
from load import QUANTILES, Ask, Record, asks_of, drive, outcomes
from memory import Memory
from numpy.typing import NDArray

from slackwise.simulator import Configuration, Result, Simulation, result_of
from slackwise.traces import Trace, read

CLASSES = ("text", "image")
WARM_UP = [Ask(0.1 * at, at % 3, 200, 4) for at in range(30)]


def simulated(trace: Trace, configured: Configuration) -> Result:
    """The trace served by the simulator."""
    simulation = Simulation(trace, configured, objectives(configured))
    simulation.run_until(math.inf)
    return result_of(simulation)


def repeated(trace: Trace, rounds: int, period_s: float) -> Trace:
    """The same requests `rounds` times, one round every `period_s`."""
    rows = np.tile(np.arange(len(trace)), rounds)
    later_s = np.repeat(np.arange(rounds) * period_s, len(trace))
    return replace(again := trace.take(rows), arrival_s=again.arrival_s + later_s)


def served(running: Fleet, asks: Sequence[Ask], speed: float, limit_s: float) -> list[Record]:
    """The requests served by the fleet, times in modelled seconds."""
    asyncio.run(drive(running.endpoint, WARM_UP, 60.0))
    stretched = [replace(each, at_s=each.at_s / speed) for each in asks]
    records = asyncio.run(drive(running.endpoint, stretched, limit_s / speed))
    for each in records:
        each.sent_s, each.first_s, each.last_s = each.sent_s * speed, each.first_s * speed, each.last_s * speed
    return records


def quantiles(seconds: NDArray[np.float64]) -> dict[str, float]:
    """P50, P90, P99 in seconds of those that have a value."""
    good = seconds[np.isfinite(seconds)]
    return {name: round(float(np.quantile(good, share)), 4) for name, share in QUANTILES.items()}


def compare(asks: Sequence[Ask], records: Sequence[Record], result: Result) -> dict[str, Any]:
    """Quantiles of TTFT of both sides, their ratio, and what the instances say they took, by class."""
    measured = np.array([each.first_s - ask.at_s for each, ask in zip(records, asks, strict=True)])
    late = np.array([each.sent_s - ask.at_s for each, ask in zip(records, asks, strict=True)])
    took = np.array([each.took_s for each in records])
    images = np.array([each.images for each in asks]) > 0
    rows = {"all": np.ones(len(asks), bool), "text": ~images, "image": images}
    found: dict[str, Any] = {}
    for name, these in rows.items():
        ours, theirs = quantiles(measured[these]), quantiles(result.ttft_s[these])
        found[name] = {
            "ray_s": ours,
            "simulator_s": theirs,
            "ratio": {each: round(ours[each] / theirs[each], 3) for each in QUANTILES},
            "in_instances_s": quantiles(took[these]),
            "path_s": quantiles((measured - took - late)[these]),
            "sent_late_s": quantiles(late[these]),
            "difference_s": quantiles((measured - result.ttft_s)[these]),
        }
    return found


def unanswered(records: Sequence[Record], asks: Sequence[Ask]) -> list[tuple[Record, Ask]]:
    """Requests that were not answered to the end; times that do not exist as -1."""
    pairs = [pair for pair in zip(records, asks, strict=True) if pair[0].outcome != "answered"]
    for each, _ in pairs:
        each.first_s, each.took_s = (-1.0 if math.isnan(value) else value for value in (each.first_s, each.took_s))
    return pairs


def main() -> None:
    """Run both sides and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=600.0, help="of the trace")
    parser.add_argument("--rounds", type=int, default=1, help="how often they are sent")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that an answer may take")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    trace, configured = read(options.trace), configuration()
    trace = repeated(trace.take(trace.arrival_s < options.seconds), options.rounds, options.seconds)
    result, asks = simulated(trace, configured), asks_of(trace, configured)
    before = machine()
    with fleet(configured, options.speed, images_per_request=256) as running, Memory(10.0) as memory:
        began = time.monotonic()
        records = served(running, asks, options.speed, options.limit)
        took_s = time.monotonic() - began
    document = {
        "requests": len(asks),
        "rounds": options.rounds,
        "speed": options.speed,
        "wall_s": round(took_s, 1),
        "fleet": configured.cluster.describe(),
        "policies": configured.policies.to_dict(),
        "outcomes": outcomes(records),
        "ttft": compare(asks, records, result),
        "unanswered": [asdict(ask) | asdict(each) for each, ask in unanswered(records, asks)],
        "memory": memory.summary(),
        "machine": before | {"load_average_after": machine()["load_average"]},
    }
    publish(options.out, document, table(document))


def table(document: dict[str, Any]) -> str:
    """The figures for people."""
    before, after = (document["machine"][name] for name in ("load_average", "load_average_after"))
    lines = [
        f"{document['requests']} requests in {document['rounds']} rounds, speed {document['speed']:g}, "
        f"{document['fleet']}; {document['outcomes']}.",
        f"Load average {before} before, {after} after.",
        "",
        "| TTFT [s] | P50 | P90 | P99 |",
        "|---|---:|---:|---:|",
    ]
    words = {
        "ray_s": "behind Ray",
        "simulator_s": "simulator",
        "ratio": "ratio",
        "in_instances_s": "of it in the instances, as they say",
        "path_s": "of it on the way",
        "sent_late_s": "sent late by the client",
    }
    for name, each in document["ttft"].items():
        for key, word in words.items():
            lines.append(f"| {name}: {word} | " + " | ".join(f"{each[key][at]:.3f}" for at in QUANTILES) + " |")
    return "\n".join([*lines, "", *document["memory"]["lines"]]) + "\n"


if __name__ == "__main__":
    main()
