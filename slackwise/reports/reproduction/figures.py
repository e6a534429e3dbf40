"""Figures of a reproduction as SVG to put inside a page, by the key of the finding's data that they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slackwise.reports.reproduction.cdf import ttft_figure


@dataclass(frozen=True)
class Figure:
    """How a piece of data is drawn, and what it is called."""

    draw: Callable[[Mapping[str, Any]], str]
    title: str
    alt: str

    def __call__(self, data: Mapping[str, Any]) -> str:
        return self.draw(data)


FIGURES: Mapping[str, Figure] = {
    "ttft": Figure(
        ttft_figure,
        "Time to first token by class",
        "Share of requests whose first token came within so many seconds, by class and service.",
    ),
}
"""Figures by name."""
