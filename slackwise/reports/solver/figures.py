"""Figures of the solver report as SVG to put inside a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from slackwise.reports.plots import blank_figure, legend_above, styled, svg


def fleet_figure(data: Mapping[str, Any]) -> str:
    """GPUs of each kind that are ready, stacked, and the demand below."""
    with styled():
        figure = blank_figure(4.6)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        at_h = np.arange(len(data["load_rps"]) + 1) * data["window_s"] / 3600  # to the end of the last window
        gpus, load = (_to_the_end(np.array(data[name])) for name in ("gpus", "load_rps"))
        upper.stackplot(at_h, gpus, labels=data["kinds"], step="post")
        upper.set(ylabel="GPUs ready", ylim=(0, None))
        legend_above(figure, upper)
        lower.step(at_h, load, where="post", color="#333333")
        lower.set(
            xlabel="hours from the beginning of the plan", ylabel="requests per second", ylim=(0, 1.05 * load.max())
        )
        return svg(figure, "fleet")


def _to_the_end(values: np.ndarray) -> np.ndarray:
    """The last value of each row twice, so that the last step has a width."""
    return np.concatenate([values, values[..., -1:]], axis=-1)


def front_figure(data: Mapping[str, Any]) -> str:
    """Cost and attainment of plans for less and more demand, and of today's fleet."""
    with styled():
        figure = blank_figure(4.0)
        axes = figure.subplots()
        points = sorted(data["points"], key=lambda each: (each["cost"], each["factor"]))
        front = [each for each in points if each["on_front"]]
        axes.plot(*_places(front), "-", color="#d55e00", label="front of the plans")
        axes.plot(*_places(points), "o", color="#d55e00", label="plans for so many times the demand")
        for at, (each, x, y) in enumerate(zip(points, *_places(points), strict=True)):
            away, side = ((6, -12), "left") if at % 2 else ((-6, 6), "right")  # neighbours on either side of the line
            axes.annotate(f"x {each['factor']:g}", (x, y), away, textcoords="offset points", ha=side)
        today = data["today"]
        axes.plot([today["cost"]], [100 * today["attainment"]], "s", color="#555555", label="today")
        axes.axhline(100 * data["target"], color="#0072b2", linestyle=":", label="target of the plan")
        axes.set(xlabel=f"{data['unit']}, simulated", ylabel="SLO attainment, %", xlim=(0, None), ylim=(None, 100.5))
        legend_above(figure, axes)
        return svg(figure, "front")


def _places(points: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    return [each["cost"] for each in points], [100 * each["attainment"] for each in points]


FIGURES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"fleet": fleet_figure, "front": front_figure}
"""Figures by name, each of the data of its card."""
