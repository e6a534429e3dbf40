"""Print the checks of the synthetic week as a Markdown table: real value, this generator's, the reference generator's.

    python tools/print_trace_checks.py [MINUTE_COUNTS_FILE]

Values are means over seeds 0, 1 and 2. With a file of exact counts per minute a column of replayed weeks is added.
"""

from __future__ import annotations

import sys

import numpy as np

from slackwise.traces import synthesize
from slackwise.traces.checks import CHECKS, Check, Week

SEEDS = (0, 1, 2)


def main(counts: str | None = None) -> None:
    """Measure and print."""
    drawn = measured(None)
    replayed = measured(counts) if counts else None
    print("| quantity | real week | may differ by | kind | fitted to | drawn | replayed | reference generator |")
    print("|---|---|---|---|---|---|---|---|")
    for check in CHECKS:
        cells = [check.name, number(check.value), number(check.tolerance), check.kind, "yes" if check.fitted else ""]
        cells.append("" if check.replayed_only else cell(check, drawn))
        cells.append("" if check.drawn_only or replayed is None else cell(check, replayed))
        cells.append("" if check.reference is None else number(check.reference))
        print(f"| {' | '.join(cells)} |")


def measured(counts: str | None) -> dict[str, list[float]]:
    """Every check's quantity for each seed."""
    found: dict[str, list[float]] = {check.name: [] for check in CHECKS}
    for seed in SEEDS:
        week = Week(synthesize(seed, minute_counts=counts))
        for check in CHECKS:
            found[check.name].append(float(check.measure(week)))
    return found


def cell(check: Check, found: dict[str, list[float]]) -> str:
    """Mean over the seeds, with the range where the quantity is an extreme."""
    values = found[check.name]
    spread = f" ({number(min(values))} to {number(max(values))})" if check.varies else ""
    miss = "" if abs(np.mean(values) - check.value) <= check.tolerance else " (missed)"
    return number(float(np.mean(values))) + spread + miss


def number(value: float) -> str:
    """A number with the digits it deserves."""
    if (value == round(value) and abs(value) >= 1) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.4g}"


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
