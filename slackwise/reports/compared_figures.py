"""Figures of a comparison and of a search for capacity as SVG to put inside a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slackwise.reports.plots import COLORS, blank_figure, legend_above, styled, svg

OTHERS = ("#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Colours of services that have none of their own (Okabe and Ito 2008)."""


def changes_figure(data: Mapping[str, Any]) -> str:
    """The change of each service against the baseline with its interval, best first."""
    with styled():
        rows = [each for each in data["rows"][::-1] if each["difference"] is not None]
        figure = blank_figure(1.0 + 0.35 * len(rows))
        axes = figure.subplots()
        for at, each in enumerate(rows):
            low, high = each["interval"] or (each["difference"], each["difference"])
            axes.plot([low, high], [at, at], color="#0072b2", linewidth=2.0)
            axes.plot([each["difference"]], [at], "o", color="#0072b2")
        axes.axvline(0.0, color="#555555", linestyle=":")
        axes.set_yticks(range(len(rows)), [each["name"] for each in rows])
        axes.set(xlabel=f"{data['metric']}, change against {data['baseline']}", ylim=(-0.6, len(rows) - 0.4))
        axes.grid(axis="y", visible=False)
        return svg(figure, "comparison changes")


def rates_figure(data: Mapping[str, Any]) -> str:
    """Share of requests within their objectives at every rate that was tried."""
    with styled():
        figure = blank_figure(3.8)
        axes = figure.subplots()
        spare = iter(OTHERS * 10)
        for name, points in data["points"].items():
            rate, met = zip(*points, strict=True)
            axes.plot(rate, met, marker="o", markersize=4, label=name, color=COLORS.get(name) or next(spare))
        axes.axhline(data["target"], color="#555555", linestyle=":", label=f"target, {data['target']:g} %")
        axes.set(xlabel="requests per second", ylabel="SLO attainment, %", xscale="log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        legend_above(figure, axes)
        return svg(figure, "capacity rates")


FIGURES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"changes": changes_figure, "rates": rates_figure}
"""Figures by name, each of the data of its card."""
