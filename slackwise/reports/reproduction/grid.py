"""The heat map of the ratio sweep: how many times lower P99 TTFT is than the monolith's, by ratio and image share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slackwise.optional import require
from slackwise.reports.plots import blank_figure, styled, svg

STEEPEST = 4.0
"""Factors beyond this, or below its inverse, look alike."""


def grid_figure(data: Mapping[str, Any]) -> str:
    """`data`: model -> {"shares": [...], "rows": [{"text", "encoders", "factors"}]}. Blue wins, orange loses."""
    with styled():
        figure = blank_figure(3.9)
        panels = figure.subplots(1, len(data), squeeze=False)[0]
        for axes, (model, grid) in zip(panels, data.items(), strict=True):
            image = _panel(axes, model, grid)
        bar = figure.colorbar(image, ax=list(panels), label="P99 TTFT: monolith / ours")
        ticks = (0.25, 0.5, 1.0, 2.0, 4.0)
        bar.set_ticks(np.log2(ticks), labels=["≤ 0.25 x", "0.5 x", "1 x (even)", "2 x", "≥ 4 x"])
        return svg(figure, "reproduction grid")


def _panel(axes: Any, model: str, grid: Mapping[str, Any]) -> Any:
    factors = np.array([[np.nan if each is None else each for each in row["factors"]] for row in grid["rows"]])
    colors = require("matplotlib", "report").colormaps["PuOr"]
    edge = np.log2(STEEPEST)
    image = axes.imshow(np.clip(np.log2(factors), -edge, edge), cmap=colors, vmin=-edge, vmax=edge, aspect="auto")
    for at, row in enumerate(grid["rows"]):
        for place, each in enumerate(row["factors"]):
            text = "-" if each is None else f"{each:.2g}" if each < 10 else f"{each:.0f}"
            dark = each is not None and abs(np.log2(each)) > 0.55 * edge
            axes.text(place, at, text, ha="center", va="center", color="white" if dark else "black", fontsize=9)
    axes.set_xticks(range(len(grid["shares"])), [f"{100 * each:g} %" for each in grid["shares"]])
    labels = [f"{row['text']} : {row['encoders']}  ({row['images_per_text']:g})" for row in grid["rows"]]
    axes.set_yticks(range(len(labels)), labels)
    axes.set(title=model, xlabel="requests with images", ylabel="text : image instances (ratio)")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image
