"""One colour and line for each service in every figure: Okabe and Ito's palette (2008), and dashes."""

from __future__ import annotations

from typing import Any

from slackwise.tuning.reproduce.services import (
    DECOUP,
    MONOLITH,
    NO_LATER,
    NO_LATER_TODAY,
    ROUTING,
    SCHED,
    TODAY,
    TUNED,
    TUNED_TODAY,
)

LINES: dict[str, tuple[str, str]] = {
    MONOLITH: ("#555555", "-"),
    DECOUP: ("#e69f00", "-"),
    SCHED: ("#56b4e9", "--"),
    ROUTING: ("#0072b2", "-"),
    TODAY: ("#555555", "--"),
    TUNED: ("#d55e00", "-"),
    TUNED_TODAY: ("#d55e00", "--"),
    NO_LATER: ("#cc79a7", "-"),
    NO_LATER_TODAY: ("#cc79a7", "--"),
}
OTHER = "#009e73"


def line_of(name: str) -> dict[str, Any]:
    """Label, colour and dashes of a service's line."""
    color, dashes = LINES.get(name, (OTHER, "-"))
    return {"label": name, "color": color, "linestyle": dashes, "linewidth": 2.2 if name == TUNED else 1.6}
