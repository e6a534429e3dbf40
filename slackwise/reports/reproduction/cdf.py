"""TTFT distributions: a row for each model, a panel for each class, a line for each service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slackwise.reports.plots import blank_figure, legend_above, seconds_axis, styled, svg, tail_axis
from slackwise.reports.reproduction.style import line_of
from slackwise.tuning.reproduce.curves import SHARES


def ttft_figure(data: Mapping[str, Any]) -> str:
    """`data`: model -> service -> class -> seconds at each of SHARES."""
    with styled():
        figure = blank_figure(3.2 * len(data))
        classes = [name for name in next(iter(next(iter(data.values())).values())) if name != "all"]
        grid = figure.subplots(len(data), len(classes), sharey=True, squeeze=False)
        for row, (model, services) in zip(grid, data.items(), strict=True):
            for axes, name in zip(row, classes, strict=True):
                for service, curves in services.items():
                    axes.plot(_positive(curves.get(name, [])), SHARES[: len(curves.get(name, []))], **line_of(service))
                axes.set(xscale="log", title=f"{model}: {name}" if axes is row[0] else name)
                seconds_axis(axes)
                tail_axis(axes)
            row[0].set_ylabel("share of requests\nat or below")
        for axes in grid[-1]:
            axes.set_xlabel("TTFT, s")
        legend_above(figure, grid[0][0])
        return svg(figure, "reproduction ttft")


def _positive(values: list[float | None]) -> list[float]:
    return [np.nan if each is None else max(each, 1e-3) for each in values]
