"""Fleets and queues over time: what arrives, the GPUs at work, the requests that wait, GPU-hours hour by hour."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator import Configuration, Result, Simulation, result_of
from slackwise.simulator.samples import Samples
from slackwise.simulator.state import DECODING, ENCODING, PREFILLING
from slackwise.traces import Trace
from slackwise.tuning.reproduce.curves import rounded
from slackwise.tuning.reproduce.setting import Setting

HOUR_S = 3600.0


def watched(setting: Setting, trace: Trace, configuration: Configuration, looks: int) -> tuple[Result, Samples]:
    """The trace served, with so many looks at its pools."""
    run = Simulation(trace, configuration, setting.objectives(configuration.cluster.model), setting.seed)
    watch = run.watch(looks)
    run.run_until()
    return result_of(run), watch.samples(run.state)


def gpu_hours(result: Result, samples: Samples) -> NDArray[np.float64]:
    """GPU-hours of each hour by the turns of the fleet, float64, shape (hours,)."""
    times = np.array([tick.time_s for tick in result.fleet])
    held = np.array([float(tick.gpus) for tick in result.fleet])
    end_s = float(samples.time_s[-1])
    edges = np.arange(times[0], end_s, HOUR_S)
    grid = np.linspace(times[0], end_s, 20 * max(1, len(edges)))
    at = np.clip(np.searchsorted(times, grid, side="right") - 1, 0, len(held) - 1)
    hour = np.minimum(((grid - times[0]) // HOUR_S).astype(np.int64), max(0, len(edges) - 1))
    lengths = np.gradient(grid) / HOUR_S
    return np.asarray(np.bincount(hour, held[at] * lengths), np.float64)


def line_of(samples: Samples) -> dict[str, Any]:
    """GPUs that take work and requests that wait, by stage, over time."""
    found: dict[str, Any] = {"hour": [rounded(each / HOUR_S) for each in samples.time_s]}
    for group, name in ((ENCODING, "encode"), (PREFILLING, "LLM"), (DECODING, "decode")):
        rows = samples.of_group(group)
        if rows.any():
            found[name] = {
                "gpus": (samples.ready[:, rows] * samples.gpus[rows]).sum(1).tolist(),
                "waiting": samples.waiting[:, rows].sum(1).tolist(),
            }
    return found


def arrivals(trace: Trace, length_h: float, looks: int) -> dict[str, Any]:
    """Text and image requests a second in each of so many parts."""
    width = length_h * HOUR_S / looks
    place = np.minimum((trace.arrival_s // width).astype(np.int64), looks - 1)
    image = trace.images > 0
    hours = (np.arange(looks) + 0.5) * width / HOUR_S
    counts = {
        name: np.bincount(place[rows], minlength=looks) / width for name, rows in (("text", ~image), ("image", image))
    }
    return {"hour": [rounded(each) for each in hours]} | {
        name: [rounded(v) for v in each] for name, each in counts.items()
    }
