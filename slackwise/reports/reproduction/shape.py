"""Batching and tensor-parallel curves of the latency model: a panel a stage, a line a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slackwise.reports.plots import blank_figure, legend_above, styled, svg

COLORS = ("#0072b2", "#d55e00", "#009e73")


def shape_figure(data: Mapping[str, Any]) -> str:
    """`data`: "batch" -> model -> stage -> [[batch, requests a second]]; "width" likewise with seconds."""
    with styled():
        figure = blank_figure(5.4)
        stages = list(next(iter(data["batch"].values())))
        grid = figure.subplots(2, len(stages), squeeze=False)
        for axes, stage in zip(grid[0], stages, strict=True):
            _lines(axes, data["batch"], stage, gain=True)
            axes.set(title=stage, xlabel="requests in a step")
        for axes, stage in zip(grid[1], stages, strict=True):
            _lines(axes, data["width"], stage, gain=False)
            axes.set(xlabel="tensor parallelism", ylim=(0, None))
        grid[0][0].set_ylabel("throughput over\nthat of one")
        grid[1][0].set_ylabel("milliseconds\nof one request")
        legend_above(figure, grid[0][0])
        return svg(figure, "reproduction shape")


def _lines(axes: Any, curves: Mapping[str, Any], stage: str, gain: bool) -> None:
    for color, (model, lines) in zip(COLORS, curves.items(), strict=False):
        at, values = zip(*lines[stage], strict=True)
        shown = [each / values[0] for each in values] if gain else [1e3 * each for each in values]
        axes.plot(at, shown, marker="o", markersize=4, color=color, label=model)
    axes.set(xscale="log")
    axes.set_xticks(at, [f"{each:g}" for each in at])
    axes.minorticks_off()
    if gain:
        ticks = (1, 2, 4, 8, 16, 32)
        axes.set_ylim(0.8, 40)
        axes.set_yscale("log")
        axes.set_yticks(ticks, [f"x {each}" for each in ticks])
        axes.minorticks_off()
