"""Run with NUMBA_DISABLE_JIT=1 and a copy of the package first on PYTHONPATH: which of the checks object to it.

    NUMBA_DISABLE_JIT=1 PYTHONPATH=<folder of the copy>:. python -m tests.simulator.planted

prints a JSON object: `package` (the folder of the copy), and what each check found, empty if nothing: `checking mode`
(run_until(check=True)), `equality` (kernel against reference) and `secrecy` (outputs of other lengths).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import slackwise
from slackwise.errors import CheckError
from slackwise.simulator import Simulation
from tests.simulator.cases import (
    CROSS_ATTENTION,
    DECODER_ONLY,
    OBJECTIVES,
    Shape,
    configuration,
    monolith,
    random_simulation,
    shrink_memory,
    trace_of,
)
from tests.simulator.secrecy import betrayals
from tests.simulator.watched import Watched, differences

NAMES = {"chunking": "per_image", "encode_batching": "fcfs", "batching": "sjf", "routing": "least_requests"}


def crowded() -> Simulation:
    """A monolith that has to preempt."""
    rows = [(0.02 * at, int(at == 1), 40, 50) for at in range(8)]
    made = Simulation(trace_of(rows), configuration(monolith(DECODER_ONLY), **NAMES), OBJECTIVES)
    shrink_memory(made, spare_tokens=60)
    return made


def separate() -> Simulation:
    """Encoders apart, prefill first."""
    return random_simulation(Shape("E+PD", CROSS_ATTENTION, "vllm-0.7", requests=10, names=NAMES), 1)


CASES: tuple[Callable[[], Simulation], ...] = (crowded, separate)
"""Small, since plain Python is slow."""


def broken_invariant() -> str:
    """What the checking mode says first, or nothing."""
    for case in CASES:
        try:
            case().run_until(check=True)
        except CheckError as error:
            return str(error)
    return ""


def difference() -> str:
    """How the kernel first differs from the reference, or nothing."""
    for case in CASES:
        run = case()
        reference = Watched(run)
        run.run_until()
        reference.run()
        found = differences(run, reference)
        if found:
            return found[0]
    return ""


def betrayal() -> str:
    """What first hangs on the length of an output that goes on, or nothing."""
    found = betrayals(Shape("E+PD", requests=8, bursts=True, names=NAMES), 0, looks=4)
    return found[0] if found else ""


def main() -> None:
    """Print what the test asks for."""
    found = {"checking mode": broken_invariant(), "equality": difference(), "secrecy": betrayal()}
    sys.stdout.write(json.dumps({"package": str(Path(slackwise.__file__).parent), **found}))


if __name__ == "__main__":
    main()
