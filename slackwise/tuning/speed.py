"""How fast the search is: trials of a 4-hour window of the synthetic week on 16 A100s."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from slackwise.simulator import isolated, preset
from slackwise.traces import synthesize
from slackwise.tuning.goals import Goal
from slackwise.tuning.space import space_of
from slackwise.tuning.trials import Task
from slackwise.tuning.tune_search import Budget, search
from slackwise.tuning.workers import workers

MODEL, START_H, HOURS = "Llama-3.2-11B-Vision", 24.0, 4.0
"""What is searched: Wednesday noon to 16 o'clock, at the trace's own rate."""


def tune_speed(
    seed: int = 0, trials: int = 200, jobs: int = 2, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Seconds of `trials` trials of TPE over layout, policies and knobs, in `jobs` processes, their start included.

    The kernel is taken from the cache: it is compiled once a machine.
    """
    start = preset("vllm", MODEL)
    trace = synthesize(seed, start_h=START_H, duration_h=HOURS)
    task = Task(trace, isolated(start.cluster, scale="work"), (Goal("attainment"),), seed=seed)
    space = space_of(start)
    begin = time.perf_counter()
    with workers(task, jobs) as running:
        found = search(task, space, "tpe", Budget(trials), running)
    seconds = time.perf_counter() - begin
    progress(f"{trials} trials: {seconds:.1f} s")
    return {
        f"tune_{trials}_s": round(seconds, 2),
        "tune_jobs": jobs,
        "tune_requests_a_trial": len(trace),
        "tune_requests_simulated": found.requests,
        "tune_stopped": sum(each.measured.stopped for each in found.entries),
        "tune_parameters": len(space.parameters),
        "tune_model": MODEL,
    }
