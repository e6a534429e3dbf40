"""slackwise's part: python slackwise_worker.py TRACE OUT. The whole simulator: load, run, and all metrics of a result.

A first run compiles or reads the cache and is not counted; of the others the median is.
"""

from __future__ import annotations

import statistics
import sys

from job import configuration
from worker import Clock, leave

from slackwise.simulator.objectives import isolated
from slackwise.simulator.run import simulate
from slackwise.traces import read

RUNS = 15


def main() -> None:
    """Serve the trace and leave the seconds of its requests."""
    trace, its = read(sys.argv[1]), configuration()
    objectives = isolated(its.cluster)
    simulate(trace, its, objectives)
    seconds = []
    for _ in range(RUNS):
        clock = Clock()
        result = simulate(trace, its, objectives)
        seconds.append(clock.lap())
    leave(sys.argv[2], result.ttft_s, result.end_to_end_s, cpu_s=statistics.median(seconds), set_up_s=0.0)


if __name__ == "__main__":
    main()
