"""Pictures of a trace: distributions, series over time, dispersion, image share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.files import written_whole
from slackwise.optional import require
from slackwise.traces.description import classes, counts_per_bin, fano
from slackwise.traces.trace import Trace

COLORS = {"all": "#444444", "text": "#1f77b4", "image": "#d95f02"}
SERIES_BINS = 600
DISPERSION_BINS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300)


def plot(trace: Trace, path: str | os.PathLike[str]) -> list[Path]:
    """Draw the trace: one picture if `path` ends in .png, else one file a panel in the folder `path`.

    Returns the files written. Raises InputError if matplotlib is missing, the trace is empty or the path cannot be
    written.
    """
    if not len(trace):
        raise InputError(f"{trace.source}: the trace holds no request")
    figures, target = require("matplotlib.figure", "report"), Path(path)
    if target.suffix == ".png":
        figure = figures.Figure(figsize=(15, 8), layout="constrained")
        for axes, draw in zip(figure.subplots(2, 3).flat, PANELS.values(), strict=True):
            draw(trace, axes)
        figure.suptitle(_title(trace))
        return [_saved(figure, target)]
    if target.suffix:
        raise InputError(f"{target.name}: plots go to a .png file or to a folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None
    written = []
    for name, draw in PANELS.items():
        figure = figures.Figure(figsize=(7, 4.5), layout="constrained")
        draw(trace, figure.subplots())
        figure.suptitle(_title(trace), fontsize="small")
        written.append(_saved(figure, target / f"{name}.png"))
    return written


def _title(trace: Trace) -> str:
    return f"{trace.source}: {len(trace):,} requests, image_count {trace.image_count}"


def _saved(figure: Any, path: Path) -> Path:
    with written_whole(path) as part:
        figure.savefig(part, format="png", dpi=110)
    return path


def _distribution(trace: Trace, axes: Any, column: str, label: str) -> None:
    """Empirical distribution function by class, on a logarithmic axis from 1 on."""
    for name, rows in classes(trace).items():
        values = np.sort(np.maximum(getattr(trace, column)[rows], 1))
        share = np.arange(1, len(values) + 1) / len(values)
        step = max(1, len(values) // 5000)
        axes.plot(np.append(values[::step], values[-1]), np.append(share[::step], 1.0), label=name, color=COLORS[name])
    axes.set(xscale="log", xlabel=label, ylabel="share of requests", ylim=(0, 1))
    axes.legend()


def _context(trace: Trace, axes: Any) -> None:
    _distribution(trace, axes, "context_tokens", "context tokens")


def _output(trace: Trace, axes: Any) -> None:
    _distribution(trace, axes, "output_tokens", "output tokens")


def _images(trace: Trace, axes: Any) -> None:
    """Share of image requests with at most so many images."""
    images = trace.images[trace.recorded_images > 0]
    values, count = np.unique(images, return_counts=True)
    axes.step(values, np.cumsum(count) / max(1, len(images)), where="post", color=COLORS["image"])
    axes.set(xlabel=f"images of a request ({trace.image_count})", ylabel="share of image requests", ylim=(0, 1))


def _series(trace: Trace, axes: Any) -> None:
    width, hours, counts = _binned(trace)
    for name, count in counts.items():
        axes.plot(hours, 60.0 * count / width, label=name, color=COLORS[name], linewidth=0.8)
    axes.set(xlabel=f"hours from {trace.start}", ylabel="requests per minute", ylim=(0, None))
    axes.legend()


def _share(trace: Trace, axes: Any) -> None:
    _, hours, counts = _binned(trace, bins=168)
    share = counts.get("image", np.zeros(len(hours))) / np.maximum(counts["all"], 1)
    axes.step(hours, np.where(counts["all"] > 0, share, np.nan), where="post", color=COLORS["image"])
    axes.set(xlabel=f"hours from {trace.start}", ylabel="share of image requests", ylim=(0, 1))


def _binned(trace: Trace, bins: int = SERIES_BINS) -> tuple[float, Any, dict[str, Any]]:
    """Bin width in seconds, start of each bin in hours, counts per bin of each class."""
    end = float(trace.arrival_s[-1])
    width = max(1.0, (np.floor(end) + 1.0) / bins)
    counts = {name: counts_per_bin(trace.arrival_s[rows], width, end) for name, rows in classes(trace).items()}
    return width, np.arange(len(counts["all"])) * width / 3600.0, counts


def _dispersion(trace: Trace, axes: Any) -> None:
    first, last = float(trace.arrival_s[0]), float(trace.arrival_s[-1])
    for name, rows in classes(trace).items():
        values = {width: fano(trace.arrival_s[rows], width, first, last) for width in DISPERSION_BINS_S}
        known = {width: value for width, value in values.items() if value}  # a logarithmic axis has no place for 0
        axes.plot(list(known), list(known.values()), marker="o", label=name, color=COLORS[name])
    axes.axhline(1.0, color="#999999", linestyle=":")
    axes.set(xscale="log", yscale="log", xlim=(0.8, 400), xlabel="bin, seconds")
    axes.set(ylabel="variance / mean of counts (1 if Poisson)")
    axes.legend()


PANELS: dict[str, Callable[[Trace, Any], None]] = {
    "context_tokens": _context,
    "output_tokens": _output,
    "images": _images,
    "series": _series,
    "image_share": _share,
    "dispersion": _dispersion,
}
"""Panel -> what draws it; also the file names in a folder."""
