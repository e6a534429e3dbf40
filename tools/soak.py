"""A long simulation with random policies, faults and a changing fleet, looked at in the checking mode.

    python tools/soak.py [--requests 10000000] [--looks 2] [--events 1] [--rounds 1] [--seed 0]

Every invariant (simulator/invariants.py) is asked for at `--looks` random times of the run, there after each of
`--events` events in a row, and at the end. Looking after every event of such a run would take days; tests do that for
small ones. A look counts everything again for each instance: at ten million requests it takes minutes. Every round has
policies and arrivals of its own. Prints what was run, and exits with 5 if an invariant is broken.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Any

import numpy as np

from slackwise.errors import SlackwiseError
from slackwise.policies.bundle import ROLES, Policies, PolicyChoice
from slackwise.policies.knobs import Choice, IntRange, Range, Value
from slackwise.policies.registry import find, policies
from slackwise.simulator import Configuration, Simulation, isolated
from slackwise.simulator.faults import Faults
from slackwise.simulator.invariants import check, next_event_s
from slackwise.simulator.presets import disaggregated
from slackwise.streams import stream
from slackwise.traces import fold, synthesize

MODEL, GPU, GPUS, TEXT_INSTANCES = "Llama-3.2-11B-Vision", "A100-80GB", 128, 20
REQUESTS_PER_PART = 1_000_000 / 84
"""The week folded into parts of so many requests (139 a second) keeps the text instances busy four fifths of the time."""

RANDOM_ROLES = tuple(role for role in ROLES if role not in ("provisioning", "admission"))
FAULTS = Faults(
    mtbf_s=7200.0, repair_s=120.0, straggler_every_s=3600.0, straggler_s=60.0, straggler_factor=3.0, loss=0.001
)


def random_policies(seed: int) -> Policies:
    """One of the shipped policies a role, with random knobs; orders that starve are left out by no one."""
    generator = stream(seed, "soak policies")
    chosen = {role: _choice(role, generator) for role in RANDOM_ROLES}
    return Policies(**chosen, provisioning=PolicyChoice("modserve_ceil"))


def _choice(role: str, generator: np.random.Generator) -> PolicyChoice:
    names = sorted(each.name for each in policies(ROLES[role]))
    name = str(generator.choice(names))
    knobs = {knob: _value(its, generator) for knob, its in find(ROLES[role], name).knobs.items()}
    return PolicyChoice(name, {knob: value for knob, value in knobs.items() if value is not None})


def _value(knob: Any, generator: np.random.Generator) -> Value | None:
    if isinstance(knob, IntRange):
        return int(generator.integers(knob.low, knob.high + 1))
    if isinstance(knob, Range):
        return float(generator.uniform(knob.low, knob.high))
    return str(generator.choice(list(knob.names))) if isinstance(knob, Choice) else None


def soak(requests: int, looks: int, events: int, seed: int) -> dict[str, Any]:
    """Run it; what was run. Raises CheckError for a broken invariant."""
    chosen = random_policies(seed)
    trace = fold(synthesize(seed, rows=requests), max(1, round(requests / REQUESTS_PER_PART)))
    cluster = disaggregated(MODEL, GPU, GPUS, TEXT_INSTANCES)
    began = time.perf_counter()
    simulation = Simulation(trace, Configuration("soak", cluster, chosen, faults=FAULTS), isolated(cluster), seed)
    times = np.sort(stream(seed, "soak looks").uniform(0.0, float(simulation.arrival_s[-1]), looks))
    looked = 0
    for at_s in times:
        simulation.run_until(float(at_s))
        for _ in range(events):
            event_s = next_event_s(simulation.state)
            if event_s == np.inf:
                break
            since_s = float(simulation.state.clock[0].now_s)
            simulation.run_until(event_s)
            check(simulation.state, since_s)
            looked += 1
    simulation.run_until()
    check(simulation.state)
    clock = simulation.state.clock[0]
    return {
        "policies": {role: choice["name"] for role, choice in chosen.to_dict().items()},
        "requests": int(clock.request_count),
        "finished": int(clock.finished),
        "failed": int(clock.failed),
        "events": int(clock.events),
        "looks": looked + 1,
        "seconds": round(time.perf_counter() - began, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


DEFAULTS = (("--requests", 10_000_000), ("--looks", 2), ("--events", 1), ("--rounds", 1), ("--seed", 0))


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in DEFAULTS:
        parser.add_argument(name, type=int, default=default)
    arguments = parser.parse_args()
    for seed in range(arguments.seed, arguments.seed + arguments.rounds):
        try:
            found = soak(arguments.requests, arguments.looks, arguments.events, seed)
        except SlackwiseError as error:
            print(f"soak.py: seed {seed}: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        print(json.dumps({"seed": seed} | found), flush=True)


if __name__ == "__main__":
    main()
