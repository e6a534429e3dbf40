"""A day or a week: what arrives, the GPUs at work and the requests that wait, by service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slackwise.optional import require
from slackwise.reports.plots import blank_figure, legend_above, styled, svg
from slackwise.reports.reproduction.style import line_of

TEXT, IMAGE = "#333333", "#009e73"
DAY_H, MOST_TICKS = 24.0, 12
TICKS_H = (1, 4, 24, 168)
"""Hours between two ticks: the first that leaves MOST_TICKS of them."""


def day_figure(data: Mapping[str, Any]) -> str:
    """`data`: model -> {"arrivals": {...}, service: {"hour": [...], stage: {"gpus", "waiting"}}}; a column a model."""
    ticker = require("matplotlib.ticker", "report")
    with styled():
        figure = blank_figure(8.0)
        grid = figure.subplots(4, len(data), sharex=True, squeeze=False, height_ratios=(2, 3, 3, 3))
        for column, (model, lines) in enumerate(data.items()):
            _arrivals(grid[0][column], lines["arrivals"])
            grid[0][column].set_title(model)
            for name, line in lines.items():
                if name != "arrivals":
                    _service(grid[1:, column], name, line)
            length_h = lines["arrivals"]["hour"][-1]
            grid[-1][column].set_xlabel(
                "hour of the week, from Tuesday noon" if length_h > DAY_H else "hour of the day"
            )
            grid[-1][column].set_xlim(0, length_h)
            every_h = next(each for each in TICKS_H if length_h <= MOST_TICKS * each)
            grid[-1][column].xaxis.set_major_locator(ticker.MultipleLocator(every_h))
            for row in grid[:3, column]:
                row.set_ylim(bottom=0)
            grid[3][column].set_yscale("symlog", linthresh=10)
            grid[3][column].set_ylim(bottom=0)
        labels = ("arrivals\na second", "GPUs with LLM,\nat work", "GPUs that\nonly encode", "requests\nwaiting")
        for axes, label in zip(grid[:, 0], labels, strict=True):
            axes.set_ylabel(label)
        legend_above(figure, grid[1][0])
        return svg(figure, "reproduction day")


def _arrivals(axes: Any, arrivals: Mapping[str, Any]) -> None:
    axes.plot(arrivals["hour"], arrivals["text"], color=TEXT, linewidth=1.0, label="text-only")
    axes.plot(arrivals["hour"], arrivals["image"], color=IMAGE, linewidth=1.0, label="with images")
    axes.legend(ncols=2, loc="upper left", fontsize=8, borderaxespad=0.0)
    axes.margins(y=0.35)


def _service(panels: Any, name: str, line: Mapping[str, Any]) -> None:
    style = line_of(name) | {"linewidth": 1.2}
    llm = line.get("LLM") or line.get("decode")
    if llm:
        panels[0].step(line["hour"], llm["gpus"], where="post", **style)
    if "encode" in line:
        panels[1].step(line["hour"], line["encode"]["gpus"], where="post", **style)
    parts = [line[stage]["waiting"] for stage in ("encode", "LLM") if stage in line]
    panels[2].plot(line["hour"], [sum(each) for each in zip(*parts, strict=True)], **style)
