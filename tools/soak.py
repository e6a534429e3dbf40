"""A long simulation with random policies, faults and a changing fleet, looked at in the checking mode.

    python tools/soak.py [--requests 10000000] [--looks 20] [--events 3] [--rounds 1] [--seed 0]

Every invariant (simulator/invariants.py) is asked for at `--looks` random times of the run, there after each of
`--events` events in a row, and at the end. Looking after every event of such a run would take days; tests do that for
small ones. A look takes 5 s at ten million requests (6.5 GB). Every round has policies and arrivals of its own.
Policies that cannot serve the full load get half of it, a quarter and so on (policies_and_parts). Prints what was run,
and exits with 5 if an invariant is broken.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Any

import numpy as np

from slackwise.errors import InputError, SlackwiseError
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
FULL_RPS, WEEK_S = 139.0, 604_800.0
"""Requests a second that keep the text instances busy four fifths of the time under good policies."""

PILOT_REQUESTS, PILOT_SLICES, PILOT_WAITING = 100_000, 100, 1000
"""Before: so many requests at the load in question, and how many jobs and requests may wait when it is looked at."""

RANDOM_ROLES = tuple(role for role in ROLES if role not in ("provisioning", "admission"))
FAULTS = Faults(
    mtbf_s=7200.0, repair_s=120.0, straggler_every_s=3600.0, straggler_s=60.0, straggler_factor=3.0, loss=0.001
)


def random_policies(generator: np.random.Generator) -> Policies:
    """One of the shipped policies a role, with random knobs; orders that starve are left out by no one."""
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


def policies_and_parts(requests: int, seed: int) -> tuple[Policies, int, int]:
    """Random policies, the parts into which to fold the week so that they keep up, and how many drawn before could not.

    Policies that are bad on purpose serve a fraction of what good ones do, and a queue that grows for ten million
    requests says nothing more and takes days: the load is halved until a pilot run keeps up, and if the week as it is
    (one part) is still too much, policies are drawn anew.
    """
    generator = stream(seed, "soak policies")
    for drawn in range(1000):
        chosen = random_policies(generator)
        parts = max(1, round(FULL_RPS * WEEK_S / requests))
        while parts:
            if keeps_up(chosen, requests * parts, seed):
                return chosen, parts, drawn
            parts //= 2
    raise InputError(f"--requests {requests}: no policies drawn can serve them in a week")


def keeps_up(chosen: Policies, requests_a_week: int, seed: int) -> bool:
    """Whether few wait, whenever a pilot run at this load is looked at."""
    pilot = simulation_of(chosen, PILOT_REQUESTS, max(1, round(requests_a_week / PILOT_REQUESTS)), seed)
    for at_s in np.linspace(0.0, float(pilot.arrival_s[-1]), PILOT_SLICES):
        pilot.run_until(float(at_s))
        if (pilot.state.engines.queued + pilot.state.engines.queued_jobs).sum() > PILOT_WAITING:
            return False
    return True


def simulation_of(chosen: Policies, requests: int, parts: int, seed: int) -> Simulation:
    """So many requests of a week folded into parts, with faults, before their first."""
    trace, cluster = fold(synthesize(seed, rows=requests), parts), disaggregated(MODEL, GPU, GPUS, TEXT_INSTANCES)
    return Simulation(trace, Configuration("soak", cluster, chosen, faults=FAULTS), isolated(cluster), seed)


def soak(requests: int, looks: int, events: int, seed: int) -> dict[str, Any]:
    """Run it; what was run. Raises CheckError for a broken invariant."""
    began = time.perf_counter()
    chosen, parts, redrawn = policies_and_parts(requests, seed)
    simulation = simulation_of(chosen, requests, parts, seed)
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
        "policies_redrawn": redrawn,
        "requests": int(clock.request_count),
        "requests_per_s": round(float(clock.request_count / simulation.arrival_s[-1]), 1),
        "finished": int(clock.finished),
        "failed": int(clock.failed),
        "crashes_met": int(simulation.state.progress.crashes.sum()),
        "preemptions": int(simulation.state.progress.preemptions.sum()),
        "events": int(clock.events),
        "hours": round(float(clock.now_s) / 3600, 1),
        "longest_queue": int(clock.longest_queue),
        "looks": looked + 1,
        "seconds": round(time.perf_counter() - began, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


DEFAULTS = (("--requests", 10_000_000), ("--looks", 20), ("--events", 3), ("--rounds", 1), ("--seed", 0))


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
