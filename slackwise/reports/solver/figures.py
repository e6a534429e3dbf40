"""Figures of the solver report as SVG to put inside a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from slackwise.reports.plots import blank_figure, legend_above, styled, svg


def fleet_figure(data: Mapping[str, Any]) -> str:
    """GPUs of each kind that are ready, stacked, and the demand below."""
    with styled():
        figure = blank_figure(4.6)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        at_h = np.arange(len(data["load_rps"])) * data["window_s"] / 3600
        upper.stackplot(at_h, np.array(data["gpus"]), labels=data["kinds"], step="post")
        upper.set(ylabel="GPUs ready", ylim=(0, None))
        legend_above(figure, upper)
        lower.step(at_h, data["load_rps"], where="post", color="#333333")
        lower.set(xlabel="hours from the beginning of the plan", ylabel="requests per second", ylim=(0, None))
        return svg(figure, "fleet")


def front_figure(data: Mapping[str, Any]) -> str:
    """Cost and attainment of plans for less and more demand, and of today's fleet."""
    with styled():
        figure = blank_figure(4.0)
        axes = figure.subplots()
        points = data["points"]
        axes.plot(
            [each["gpu_hours"] for each in points],
            [100 * each["attainment"] for each in points],
            "o-",
            color="#d55e00",
            label="plans for 0.6 to 1.6 times the demand",
        )
        for each in points:
            axes.annotate(
                f"x {each['factor']:g}",
                (each["gpu_hours"], 100 * each["attainment"]),
                (5, -12),
                textcoords="offset points",
            )
        today = data["today"]
        axes.plot([today["gpu_hours"]], [100 * today["attainment"]], "s", color="#555555", label="today")
        axes.axhline(100 * data["target"], color="#0072b2", linestyle=":", label="target of the plan")
        axes.set(xlabel="GPU-hours, simulated", ylabel="SLO attainment, %", xlim=(0, None), ylim=(None, 100.5))
        legend_above(figure, axes)
        return svg(figure, "front")


FIGURES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"fleet": fleet_figure, "front": front_figure}
"""Figures by name, each of the data of its card."""
