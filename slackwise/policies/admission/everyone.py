"""Admission of whoever comes."""

from __future__ import annotations

from slackwise.policies.declare import ADMIT, Instance, Params, Request, admission_policy


@admission_policy(source="vLLM 0.33.0 (2026): an unbounded waiting queue")
def admit_all(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Everyone is served in turn, however late.

    Formula: admit.

    Trade-offs: nothing is lost as long as load passes; under lasting overload the queue grows without bound, and with
    deadlines soon everyone is late. It costs nothing: the simulator does not even ask.
    """
    return ADMIT
