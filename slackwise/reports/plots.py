"""Figures of a study as SVG to put inside a page: they name no file and no address."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from slackwise.optional import require
from slackwise.tuning.search_study import TUNED

COLORS = {"vllm": "#555555", "vllm-0.7": "#e69f00", "modserve": "#0072b2", TUNED: "#d55e00"}
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def ttft_figure(card: Mapping[str, Any]) -> str:
    """TTFT distributions: a panel for each class, a line for each configuration."""
    with styled():
        by_name, share = card["ttft"]["by_name"], card["ttft"]["share"]
        classes = list(next(iter(by_name.values())))
        figure = blank_figure(3.6)
        panels = figure.subplots(1, len(classes), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, classes, strict=True):
            for configuration, curves in by_name.items():
                axes.plot(_positive(curves[name]), share, **_line(configuration))
            axes.set(xscale="log", xlabel="TTFT, s", title=_class_title(card, name))
            seconds_axis(axes)
        tail_axis(panels[0])
        panels[0].set_ylabel("share of requests at or below")
        legend_above(figure, panels[0])
        return svg(figure, f"ttft {card['model']}")


def time_figure(card: Mapping[str, Any]) -> str:
    """Attainment over time, and the load that explains it."""
    with styled():
        over = card["over_time"]
        figure = blank_figure(4.6)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        minutes = (np.arange(len(over["requests_per_s"])) + 0.5) * over["bin_s"] / 60
        for name, values in over["attainment"].items():
            upper.plot(minutes, _numbers(values), **_line(name))
        upper.set(ylabel="SLO attainment", ylim=(_floor(over["attainment"].values()), 1.005))
        legend_above(figure, upper)
        lower.plot(minutes, over["requests_per_s"], color="#333333", label="requests")
        lower.plot(minutes, over["images_per_s"], color="#009e73", label="images")
        lower.set(xlabel=f"minutes of the reported part (bins of {over['bin_s']:.0f} s)")
        lower.set(ylabel="arrivals per second", ylim=(0, None))
        lower.legend(ncols=2, loc="upper left")
        return svg(figure, f"time {card['model']}")


def history_figure(card: Mapping[str, Any]) -> str:
    """The search: attainment on the searched part by trial, and the best so far."""
    with styled():
        trials = card["history"]
        figure = blank_figure(3.4)
        axes = figure.subplots()
        for stopped, marker, label in ((False, "o", "trial"), (True, "x", "stopped early")):
            shown = [each for each in trials if each["stopped"] == stopped]
            axes.plot(
                [each["number"] for each in shown],
                [each["attainment"] for each in shown],
                marker,
                color="#bbbbbb" if stopped else "#0072b2",
                markersize=5,
                label=label,
            )
        best = np.maximum.accumulate([each["attainment"] for each in trials])
        axes.step(range(len(trials)), best, where="post", color=COLORS[TUNED], label="best so far")
        axes.axhline(
            trials[0]["attainment"], color=COLORS["vllm"], linestyle=":", label="trial 0: vllm as it runs today"
        )
        axes.set(xlabel="trial", ylabel="SLO attainment, searched part", ylim=(0, 1.02))
        legend_above(figure, axes)
        return svg(figure, f"history {card['model']}")


def styled() -> Any:
    return require("matplotlib", "report").rc_context(STYLE)


def blank_figure(height: float) -> Any:
    return require("matplotlib.figure", "report").Figure(figsize=(10, height), layout="constrained")


def _line(name: str) -> dict[str, Any]:
    return {"label": name, "color": COLORS.get(name, "#009e73"), "linewidth": 2.4 if name == TUNED else 1.5}


def _numbers(values: list[float | None]) -> list[float]:
    return [np.nan if each is None else each for each in values]


def _positive(values: list[float | None]) -> list[float]:
    """Seconds for a logarithmic axis: what was never served lies off its end."""
    return [np.nan if each is None else max(each, 1e-3) for each in values]


def _class_title(card: Mapping[str, Any], name: str) -> str:
    requests = card["rows"][0]["classes"][name]["requests"]
    return f"{name} ({requests:,} requests)"


def legend_above(figure: Any, axes: Any) -> None:
    """One legend above all panels, where it hides nothing."""
    figure.legend(*axes.get_legend_handles_labels(), ncols=4, loc="outside upper left", borderaxespad=0.2)


def _floor(series: Iterable[list[float | None]]) -> float:
    """The next tenth below every value, for an axis that ends at 1."""
    lowest = min((each for values in series for each in values if each is not None), default=0.0)
    return max(0.0, float(np.floor(10 * lowest - 0.5) / 10))


def tail_axis(axes: Any) -> None:
    """Shares on a scale of nines: 50, 90, 99 and 99.9 % equally far apart as the latencies that matter."""
    ticks = (0.0, 0.5, 0.9, 0.99, 0.999)
    axes.set_yscale("function", functions=(_nines, _from_nines))
    axes.set(ylim=(0.0, 0.9991), yticks=ticks, yticklabels=[f"{100 * each:g} %" for each in ticks])


def _nines(share: Any) -> Any:
    return -np.log10(np.maximum(1.0 - np.asarray(share), 1e-9))


def _from_nines(value: Any) -> Any:
    return 1.0 - 10.0 ** -np.asarray(value)


def seconds_axis(axes: Any) -> None:
    """0.1, 1, 10 instead of powers of ten, with 2 and 5 between where there is room."""
    ticker = require("matplotlib.ticker", "report")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 300 else (1.0,)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def svg(figure: Any, salt: str) -> str:
    """The SVG element alone; ids are salted so that figures of one page do not share them."""
    text = io.StringIO()
    with require("matplotlib", "report").rc_context({"svg.hashsalt": salt}):
        figure.savefig(text, format="svg", metadata=NO_METADATA)
    element = text.getvalue()[text.getvalue().index("<svg") :]
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 width="100%"', re.sub(r' height="[^"]*pt"', "", element, count=1))
