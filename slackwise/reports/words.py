"""Numbers as people read them, alike in the table of the terminal and in the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE = "-"


def seconds(value: float | None) -> str:
    """Seconds with three digits that count; NONE if a request was never served."""
    if value is None:
        return NONE
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def milliseconds(value_s: float | None) -> str:
    """Whole milliseconds."""
    return NONE if value_s is None else f"{1e3 * value_s:.0f}"


def percent(share: float) -> str:
    """A share with one decimal."""
    return f"{100 * share:.1f} %"


def difference(row: Mapping[str, Any]) -> str:
    """Difference of attainment to the baseline in points, with its interval: "+4.6 [+4.1, +5.1]"."""
    if row["verdict"] == "baseline":
        return "baseline"
    text = f"{100 * row['difference']:+.1f}"
    if row["interval"] is None:
        return f"{text} (no interval)"
    low, high = row["interval"]
    return f"{text} [{100 * low:+.1f}, {100 * high:+.1f}]"


def utilisation(row: Mapping[str, Any]) -> str:
    """Share of the time that each kind of instance was in a step: "E 29 %, PD 96 %"."""
    return ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in row["utilisation"].items())


def traffic(part: Mapping[str, Any]) -> str:
    """A part of a trace in a line."""
    rates = f"{part['requests_per_s']:.2f} requests/s, {part['images_per_s']:.2f} images/s"
    return (
        f"{part['requests']:,} requests in {part['hours']:.1f} h ({rates}; {percent(part['image_share'])} with images)"
    )


def times(ratio: float | None) -> str:
    """A ratio, "0.45 x"."""
    return NONE if ratio is None else f"{ratio:.2f} x"
