"""Run with NUMBA_DISABLE_JIT=1: the kernel as plain Python, with every question to a policy written down.

    NUMBA_DISABLE_JIT=1 python -m tests.simulator.plain

prints a JSON object: `compiled` (whether the compiler was on), `finish_s` of each case, and `unlike`: what a policy was
shown by the kernel and not by the reference.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np

from slackwise.policies.features import INSTANCE, REQUEST
from slackwise.policies.lookup import SCAN
from slackwise.simulator import Simulation
from slackwise.simulator.reference import Reference
from slackwise.simulator.state import ROLES
from tests.simulator.cases import CROSS_ATTENTION, DECODER_ONLY, Shape, random_simulation

SHAPES = [
    Shape(topology="E+PD", model=DECODER_ONLY, requests=24, chatty=True),
    Shape(topology="E+PD", model=CROSS_ATTENTION, engine="vllm-0.7", encoder="vllm", requests=24, bursts=True),
    Shape(topology="monolith", model=DECODER_ONLY, requests=24, chatty=True, scarce=True),
    Shape(topology="monolith", model=CROSS_ATTENTION, requests=20, odd_costs=True, names={"batching": "hrrn"}),
    Shape(topology="monolith", model=DECODER_ONLY, engine="vllm-0.7", requests=24, scarce=True, bursts=True),
    Shape(topology="E+P+D", model=DECODER_ONLY, requests=24, chatty=True, scarce=True),
    Shape(topology="ED+P", model=CROSS_ATTENTION, encoder="vllm", requests=24),
]
"""Small cases (the seed is the position), since plain Python is slow."""

LAGGING = {"steps"}
"""Features that whoever routes or cuts a request may see late in the kernel (features.py says so)."""

Question = tuple[str, float, dict[str, Any], dict[str, Any]]  # role, time, REQUEST, INSTANCE


def recorded(simulation: Simulation, run: Callable[[], None]) -> list[Question]:
    """The questions that the policies of `simulation` are asked while `run` runs, in order."""
    asked: list[Question] = []
    decisions = list(simulation.decisions)

    def listening(role: str, policy: Any) -> Any:
        def answer(request: Any, instance: Any, now: float, params: Any) -> float:
            asked.append((role, float(now), _facts(request, REQUEST), _facts(instance, INSTANCE)))
            return float(policy.compiled(request, instance, now, params))

        return SimpleNamespace(compiled=answer, name=role)

    simulation.state.groups.way = SCAN  # so that every instance is asked about, as the reference does
    for at, (role, (policy, params)) in enumerate(zip(ROLES, decisions, strict=True)):
        simulation.decisions[at] = (listening(role, policy), params)
    run()
    simulation.decisions[:] = decisions
    return asked


def unlike(kernel: list[Question], reference: list[Question], fixed: dict[str, bool]) -> list[str]:
    """How the questions differ: routing and chunking one by one, batching those of the reference among the kernel's.

    A batching policy of fixed order is asked when it suits, about the request alone: its questions are not compared.
    """
    found = []
    for role in ("encode_routing", "chunking", "routing", "decode_routing"):
        ours, theirs = ([each for each in asked if each[0] == role] for asked in (kernel, reference))
        found += [f"{role}: {len(ours)} questions, not {len(theirs)}"] if len(ours) != len(theirs) else []
        found += [line for one, other in zip(ours, theirs, strict=False) for line in compare(one, other)]
    for role in ("encode_batching", "batching"):
        for question in [each for each in reference if each[0] == role and not fixed[role]]:
            near = [each for each in kernel if each[0] == role and _same(each[1], question[1])]
            near = [each for each in near if each[2]["id"] == question[2]["id"]]
            if not any(compare(each, question) == [] for each in near):
                found.append(f"{role}: never asked so at {question[1]}: {compare(near[-1], question) if near else ''}")
    return found


def compare(one: Question, other: Question) -> list[str]:
    """Features that differ between two questions."""
    ignored = set() if "batching" in one[0] else LAGGING
    found = [] if _same(one[1], other[1]) else [f"{one[0]}: asked at {one[1]}, not {other[1]}"]
    for ours, theirs in ((one[2], other[2]), (one[3], other[3])):
        names = [name for name in ours if name not in ignored and not _same(ours[name], theirs[name])]
        found += [f"{one[0]} at {one[1]}: {name} = {ours[name]}, not {theirs[name]}" for name in names]
    return found


def _facts(record: Any, dtype: np.dtype[np.void]) -> dict[str, Any]:
    return {name: record[name].item() for name in dtype.names or ()}


def _same(one: float, other: float) -> bool:
    return bool(np.isclose(one, other, rtol=1e-9, atol=1e-12))


def main() -> None:
    """Run all cases and print what the test asks for."""
    finish_s, differences = [], []
    for seed, shape in enumerate(SHAPES):
        simulation = random_simulation(shape, seed)
        fixed = {
            "encode_batching": bool(simulation.state.pools[0].fixed_job_order),
            "batching": bool(simulation.state.pools[-1].fixed_order),
        }
        theirs: list[Question] = []
        reference = random_simulation(shape, seed)
        theirs = recorded(reference, lambda each=reference: Reference(each).run())  # type: ignore[misc]
        ours = recorded(simulation, simulation.run_until)
        differences += [f"case {seed}: {line}" for line in unlike(ours, theirs, fixed)]
        finish_s.append(simulation.state.progress.finish_s.tolist())
    answer = {"compiled": not numba.config.DISABLE_JIT, "finish_s": finish_s, "unlike": differences[:20]}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
