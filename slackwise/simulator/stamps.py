"""When something first happened to a request."""

from __future__ import annotations

from slackwise.jit import part


@part
def earliest(earlier_s: float, now: float) -> float:
    """The earlier time, or now if there is none (nan)."""
    return now if earlier_s != earlier_s else earlier_s
