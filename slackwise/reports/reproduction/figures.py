"""Figures of a reproduction as SVG to put inside a page, by the key of the finding's data that they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slackwise.reports.reproduction.cdf import ttft_figure
from slackwise.reports.reproduction.day import day_figure
from slackwise.reports.reproduction.front import capacity_figure, front_figure, slo_figure
from slackwise.reports.reproduction.gantt import block_figure
from slackwise.reports.reproduction.grid import grid_figure
from slackwise.reports.reproduction.shape import shape_figure


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
    "curves": Figure(
        shape_figure,
        "What a batch gains, and what tensor parallelism gains",
        "Throughput of encode, prefill and decode by batch, and seconds by tensor parallelism.",
    ),
    "capacity": Figure(
        capacity_figure,
        "Highest rate by size of the fleet",
        "Requests a second within the objectives by GPUs, a line for each service.",
    ),
    "slo": Figure(
        slo_figure,
        "Highest rate by objectives",
        "Requests a second within the objectives by how many times a request alone they are, a line for each service.",
    ),
    "grid": Figure(
        grid_figure,
        "Ratio of instances and share of images",
        "How many times lower P99 TTFT is than the monolith's by ratio of instances and share of image requests.",
    ),
    "day": Figure(
        day_figure,
        "The day: arrivals, pools and queues",
        "Arrivals a second, GPUs at work by pool and requests that wait over the day, a line for each service.",
    ),
    "week": Figure(
        day_figure,
        "The week: arrivals, pools and queues",
        "Arrivals a second, GPUs at work by pool and requests that wait over a week, a line for each service.",
    ),
    "front": Figure(
        front_figure,
        "GPUs against attainment",
        "Share of requests within their objectives by the GPUs of a static fleet, a line for each service.",
    ),
    "block": Figure(
        block_figure,
        "The block: two requests of twelve images, and small ones behind them",
        "Phases of eight requests from arrival to the last token under each service.",
    ),
}
"""Figures by name."""
