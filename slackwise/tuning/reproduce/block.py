"""One head-of-line block, by hand: a request with many images, and small ones that come right after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.simulator import Configuration, Simulation, event_log, result_of
from slackwise.simulator.chrome_trace import Row as Event
from slackwise.simulator.chrome_trace import phases
from slackwise.traces import Trace
from slackwise.tuning.reproduce.curves import rounded
from slackwise.tuning.reproduce.finding import Finding, Row, judged, number
from slackwise.tuning.reproduce.services import MONOLITH, ROUTING, STEPS, Tuned, others, steps
from slackwise.tuning.reproduce.setting import Progress, Setting

GPUS = 8
ARRIVALS: tuple[tuple[float, int, int, int], ...] = (
    (0.00, 12, 400, 40),
    (0.02, 12, 400, 40),
    (0.05, 0, 600, 20),
    (0.10, 1, 250, 20),
    (0.15, 0, 800, 20),
    (0.20, 2, 250, 20),
    (0.25, 0, 300, 20),
    (0.30, 1, 250, 20),
)
"""(seconds, images, text tokens, output tokens): two large requests, then small ones."""

LARGE = 2
EVENTS = 100_000


def block(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """Phases of each request under each step, and how long the small ones wait for their first token."""
    rows: list[Row] = []
    spans: dict[str, Any] = {}
    goals = []
    for at, model in enumerate(setting.models):
        progress(model, at / len(setting.models))
        services = steps(setting, model, GPUS) | others(setting, model, GPUS, tuned)
        worst = {}
        for name, each in services.items():
            told, small_s, large_s = _run(setting, each)
            worst[name] = small_s
            if name in STEPS or name in tuned.get(model, {}):
                spans.setdefault(model, {})[name] = told
            rows.append(Row(f"{name}: worst TTFT of a small request", model, small_s, "s", main=name in STEPS))
            rows.append(Row(f"{name}: worst TTFT of a large request", model, large_s, "s"))
        what = f"{model}: small requests wait less under {ROUTING} than on monoliths"
        first, last = worst[MONOLITH] or 0.0, worst[ROUTING] or 0.0
        goals.append(judged(what, last < first, f"{first:.2f} s and {last:.2f} s at worst"))
    why = "The paper draws such a block without numbers; ours is written by hand, eight requests on eight GPUs."
    return Finding(tuple(rows), why, tuple(goals), (), {"block": spans})


def _run(setting: Setting, configuration: Configuration) -> tuple[list[Any], float | None, float | None]:
    """Phases of each request, the worst TTFT of a small and of a large one."""
    trace = _trace()
    model = configuration.cluster.model
    run = Simulation(trace, configuration, setting.objectives(model), setting.seed, "keep", EVENTS)
    run.run_until()
    log, ttft = event_log(run), result_of(run).ttft_s
    every = [Event(*each) for each in log.rows.tolist()]
    told = []
    for request in range(len(trace)):
        own = [each for each in every if each.request == request]
        parts = [[name, rounded(since), rounded(until)] for name, since, until in phases(log, own)]
        told.append({"images": int(trace.images[request]), "ttft_s": number(ttft[request]), "phases": parts})
    return told, number(ttft[LARGE:].max()), number(ttft[:LARGE].max())


def _trace() -> Trace:
    arrival, images, text, output = (np.array(each) for each in zip(*ARRIVALS, strict=True))
    return Trace(
        arrival.astype(np.float64),
        images.astype(np.int32),
        text.astype(np.int32),
        output.astype(np.int32),
        image_count="raw",
        start="2025-01-01T00:00:00Z",
        source="written by hand",
    )
