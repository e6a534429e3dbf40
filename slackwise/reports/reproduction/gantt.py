"""One head-of-line block under each service: a bar a request, a colour a phase, from arrival to the last token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slackwise.reports.plots import blank_figure, styled, svg

PHASES = {
    "wait": ("#dddddd", "waits"),
    "encode": ("#009e73", "is encoded (apart)"),
    "transfer": ("#f0e442", "is moved"),
    "prefill": ("#0072b2", "is prefilled (on monoliths: encoded too)"),
    "decode": ("#e69f00", "decodes"),
}
"""Phase -> colour (Okabe and Ito 2008) and what happens."""


def block_figure(data: Mapping[str, Any]) -> str:
    """`data`: model -> service -> requests, each {"images", "ttft_s", "phases": [[phase, since, until], ...]}."""
    with styled():
        services = max(len(each) for each in data.values())
        figure = blank_figure(1.9 * services + 0.8)
        grid = figure.subplots(services, len(data), squeeze=False, sharex="col")
        for column, (model, lines) in enumerate(data.items()):
            for row, (name, requests) in enumerate(lines.items()):
                axes = grid[row][column]
                _bars(axes, requests)
                axes.set_title(f"{model}: {name}" if row == 0 else name, fontsize=10)
                axes.set_yticks(range(len(requests)), [_label(each) for each in requests] if column == 0 else [])
            for row in range(len(lines), services):
                grid[row][column].set_visible(False)
            grid[len(lines) - 1][column].set_xlabel("seconds; the black mark is the first token")
        patches = [grid[0][0].barh([0], [0], color=color, label=label) for color, label in PHASES.values()]
        figure.legend(handles=patches, ncols=3, loc="outside upper left")
        return svg(figure, "reproduction block")


def _bars(axes: Any, requests: Any) -> None:
    for at, each in enumerate(requests):
        for phase, since, until in each["phases"]:
            color = PHASES.get(phase, ("#bbbbbb", ""))[0]
            axes.barh(at, until - since, left=since, height=0.8, color=color, edgecolor="none")
        if each["phases"] and each["ttft_s"] is not None:
            first_s = each["phases"][0][1] + each["ttft_s"]
            axes.plot([first_s, first_s], [at - 0.4, at + 0.4], color="black", linewidth=1.6)
    axes.set_ylim(len(requests) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _label(request: Mapping[str, Any]) -> str:
    images = request["images"]
    return "text" if not images else "1 image" if images == 1 else f"{images} images"
