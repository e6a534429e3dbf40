"""Figures of a tuning run as SVG to put inside a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slackwise.reports.plots import blank_figure, legend_above, styled, svg

TRIAL, STOPPED, BEST, START = "#0072b2", "#bbbbbb", "#d55e00", "#555555"


def history_figure(data: Mapping[str, Any]) -> str:
    """The first objective by trial, on the searched part, and the best so far."""
    with styled():
        figure = blank_figure(3.6)
        axes = figure.subplots()
        trials = data["trials"]
        for stopped, marker, label in ((False, "o", "trial"), (True, "x", "stopped early (estimated)")):
            shown = [each for each in trials if each["stopped"] == stopped and each["value"] is not None]
            at, values = [each["number"] for each in shown], [each["value"] for each in shown]
            axes.plot(at, values, marker, color=STOPPED if stopped else TRIAL, markersize=4, label=label)
        best = [each for each in trials if each["best"] is not None]
        axes.step(
            [each["number"] for each in best], [each["best"] for each in best], where="post", color=BEST,
            label="best so far",
        )  # fmt: skip
        if trials[0]["value"] is not None:
            axes.axhline(trials[0]["value"], color=START, linestyle=":", label="trial 0: the start")
        axes.set(xlabel="trial", ylabel=f"{data['objective']}, searched part")
        legend_above(figure, axes)
        return svg(figure, "tuning history")


def front_figure(data: Mapping[str, Any]) -> str:
    """Two objectives against each other: all trials, the front, the start and what was chosen."""
    with styled():
        figure = blank_figure(4.2)
        axes = figure.subplots()
        axes.plot(*_places(data["others"]), "o", color=STOPPED, markersize=4, label="trial")
        axes.plot(*_places(data["front"]), "o-", color=TRIAL, label="front")
        axes.plot(*_places(data["start"]), "s", color=START, label="trial 0: the start")
        axes.plot(*_places(data["chosen"]), "D", color=BEST, label="chosen")
        axes.set(xlabel=data["objectives"][0], ylabel=data["objectives"][1])
        legend_above(figure, axes)
        return svg(figure, "tuning front")


def importance_figure(data: Mapping[str, Any]) -> str:
    """How much of the difference between good trials and all trials hangs on each parameter."""
    with styled():
        rows = list(data["importances"].items())[::-1]
        figure = blank_figure(0.8 + 0.3 * len(rows))
        axes = figure.subplots()
        axes.barh([name for name, _ in rows], [100 * share for _, share in rows], color=TRIAL, height=0.6)
        axes.set(xlabel="importance, %", xlim=(0, None))
        axes.grid(axis="y", visible=False)
        return svg(figure, "tuning importance")


def _places(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [each[0] for each in points], [each[1] for each in points]


FIGURES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "history": history_figure,
    "front": front_figure,
    "importance": importance_figure,
}
"""Figures by name, each of the data of its card."""
