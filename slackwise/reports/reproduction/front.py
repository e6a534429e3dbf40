"""Curves over the size of a fleet, or over the objectives: a panel a model, a line a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slackwise.optional import require
from slackwise.reports.plots import blank_figure, legend_above, styled, svg
from slackwise.reports.reproduction.style import line_of


def front_figure(data: Mapping[str, Any]) -> str:
    """`data`: model -> service -> [[GPUs, SLO met in per cent], ...]."""
    with styled():
        figure = blank_figure(4.0)
        panels = figure.subplots(1, len(data), squeeze=False, sharey=True)[0]
        for axes, (model, lines) in zip(panels, data.items(), strict=True):
            for name, points in lines.items():
                gpus, met = zip(*points, strict=True)
                axes.plot(gpus, [_missed(each) for each in met], marker="o", markersize=4, **line_of(name))
            axes.axhline(_missed(99.0), color="#999999", linestyle=":", linewidth=1.0)
            axes.set(title=model, xlabel="GPUs", xticks=gpus[::2])
        ticks = (0.0, 50.0, 90.0, 99.0, 99.9)
        panels[0].set_yticks([_missed(each) for each in ticks], [f"{each:g} %" for each in ticks])
        panels[0].set_ylim(-0.05, _missed(99.95))
        panels[0].set_ylabel("requests within their objectives")
        legend_above(figure, panels[0])
        return svg(figure, "reproduction front")


def capacity_figure(data: Mapping[str, Any]) -> str:
    """`data`: model -> service -> [[GPUs, requests a second], ...]."""
    with styled():
        figure = blank_figure(3.8)
        panels = figure.subplots(1, len(data), squeeze=False)[0]
        for axes, (model, lines) in zip(panels, data.items(), strict=True):
            for name, points in lines.items():
                gpus, rate = zip(*points, strict=True)
                axes.plot(gpus, rate, marker="o", markersize=4, **line_of(name))
            axes.set(title=model, xlabel="GPUs", xticks=gpus, ylim=(0, None))
        panels[0].set_ylabel("highest rate within the\nobjectives, requests/s")
        legend_above(figure, panels[0])
        return svg(figure, "reproduction capacity")


def slo_figure(data: Mapping[str, Any]) -> str:
    """`data`: "model, scale" -> service -> [[factor, requests a second, ratio], ...]."""
    ticker = require("matplotlib.ticker", "report")
    with styled():
        figure = blank_figure(3.2 * -(-len(data) // 2))
        panels = figure.subplots(-(-len(data) // 2), 2, squeeze=False, sharex=True).ravel()
        for axes, (case, lines) in zip(panels, data.items(), strict=False):
            for name, points in lines.items():
                known = [(factor, rate) for factor, rate, _ in points if rate > 0]
                if known:
                    axes.plot(*zip(*known, strict=True), marker="o", markersize=4, **line_of(name))
            ticks = [factor for factor, _, _ in next(iter(lines.values()))]
            axes.set(title=case, xscale="log", yscale="log")
            axes.set_xticks(ticks, [f"{each:g}" for each in ticks])
            axes.minorticks_off()
            axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_locator(ticker.NullLocator())
            if not any(rate > 0 for points in lines.values() for _, rate, _ in points):
                axes.text(0.5, 0.5, "no rate attains 99 %", transform=axes.transAxes, ha="center")
        for axes in panels[-2:]:
            axes.set_xlabel("objectives, times a request alone")
        for axes in panels[::2]:
            axes.set_ylabel("highest rate, requests/s")
        legend_above(figure, panels[-1] if len(data) > 1 else panels[0])
        return svg(figure, "reproduction slo")


def _missed(met: float) -> float:
    """A scale of nines: 90, 99 and 99.9 % equally far apart."""
    return float(-np.log10(max(1e-4, 1.0 - met / 100.0)))
