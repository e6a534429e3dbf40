"""What a trace holds, in numbers: one document for programs, one table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.traces.trace import Trace

if TYPE_CHECKING:
    from rich.table import Table

Floats = NDArray[np.float64]

PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
SHOWN = ("p10", "p50", "p90", "p99", "mean", "max")
BINS_S = (1, 10, 60)


def classes(trace: Trace) -> dict[str, NDArray[np.bool_]]:
    """Rows of all requests, of text requests and of image requests; empty classes are left out."""
    image = trace.recorded_images > 0
    rows = {"all": np.ones(len(trace), np.bool_), "text": ~image, "image": image}
    return {name: mask for name, mask in rows.items() if mask.any()}


def describe(trace: Trace) -> dict[str, Any]:
    """The trace in numbers, as a document for JSON; what too few requests leave undefined is None.

    source, start, image_count, notes; requests, span_s, rate_rps, image_share; per class (all, text, image):
    requests, percentiles, mean and maximum of context_tokens, output_tokens, images and recorded_images,
    interarrival_s, fano (variance over mean of the counts per 1, 10 and 60 s); per_minute, hourly_image_share,
    correlations.
    Raises InputError for an empty trace.
    """
    if not len(trace):
        raise InputError(f"{trace.source}: the trace holds no request")
    image = trace.recorded_images > 0
    per_minute = counts_per_bin(trace.arrival_s, 60.0, trace.arrival_s[-1])
    return {
        "source": trace.source,
        "start": trace.start,
        "image_count": trace.image_count,
        "notes": dict(trace.notes),
        "requests": len(trace),
        "span_s": trace.span_s,
        "rate_rps": len(trace) / trace.span_s if trace.span_s else None,
        "image_share": float(image.mean()),
        "classes": {name: _class(trace, rows) for name, rows in classes(trace).items()},
        "per_minute": summary(per_minute),
        "hourly_image_share": _hourly_share(trace),
        "correlations": _correlations(trace),
    }


def _class(trace: Trace, rows: NDArray[np.bool_]) -> dict[str, Any]:
    arrival = trace.arrival_s[rows]
    columns = {"context_tokens": trace.context_tokens, "output_tokens": trace.output_tokens}
    columns |= {"images": trace.images, "recorded_images": trace.recorded_images}
    gaps = np.diff(arrival)
    return {
        "requests": len(arrival),
        **{name: summary(column[rows]) for name, column in columns.items()},
        "interarrival_s": summary(gaps) | {"cv": float(gaps.std() / gaps.mean()) if gaps.any() else None},
        "fano": {f"{width}_s": fano(arrival, width, trace.arrival_s[0], trace.arrival_s[-1]) for width in BINS_S},
    }


def summary(values: NDArray[Any]) -> dict[str, float | None]:
    """Percentiles, mean and maximum."""
    if not len(values):
        return {**{f"p{p}": None for p in PERCENTILES}, "mean": None, "max": None}
    found = {f"p{p}": float(value) for p, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}
    return {**found, "mean": float(values.mean()), "max": float(values.max())}


def counts_per_bin(arrival_s: Floats, width_s: float, end_s: float, start_s: float = 0.0) -> NDArray[np.int64]:
    """Arrivals per bin of `width_s` seconds, from `start_s` to the bin that holds `end_s`."""
    bins = int((end_s - start_s) // width_s) + 1
    return np.bincount(((arrival_s - start_s) // width_s).astype(np.int64), minlength=bins)


def fano(arrival_s: Floats, width_s: float, start_s: float, end_s: float) -> float | None:
    """Variance over mean of the counts per `width_s`: 1 if Poisson. Only whole bins count; None if fewer than two."""
    counts = counts_per_bin(arrival_s, width_s, end_s, start_s)[:-1]
    return float(counts.var(ddof=1) / counts.mean()) if len(counts) > 1 and counts.any() else None


def _hourly_share(trace: Trace) -> dict[str, float]:
    end = trace.arrival_s[-1]
    requests = counts_per_bin(trace.arrival_s, 3600.0, end)
    images = counts_per_bin(trace.arrival_s[trace.recorded_images > 0], 3600.0, end)
    share = images[requests > 0] / requests[requests > 0]
    return {"min": float(share.min()), "median": float(np.median(share)), "max": float(share.max())}


def ranks(values: NDArray[Any]) -> Floats:
    """Ranks from 1, ties averaged."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    middle: Floats = (np.cumsum(count) - (count - 1) / 2)[place]
    return middle


def correlation(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    """Pearson's correlation; None where a column is constant."""
    if len(first) < 2 or first.min() == first.max() or second.min() == second.max():
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _correlations(trace: Trace) -> dict[str, dict[str, float | None]]:
    """Spearman's correlations of context and output in text rows, and of images with both in image rows."""
    image = trace.recorded_images > 0
    images, context, output = (ranks(c[image]) for c in (trace.images, trace.context_tokens, trace.output_tokens))
    return {
        "spearman": {
            "text: context, output": correlation(
                ranks(trace.context_tokens[~image]), ranks(trace.output_tokens[~image])
            ),
            "image: images, context": correlation(images, context),
            "image: images, output": correlation(images, output),
            "image: context, output": correlation(context, output),
        }
    }


def table(description: dict[str, Any]) -> Table:
    """The description as one table: a row a quantity and class."""
    from rich.table import Table

    result = Table(title=description["source"], title_justify="left")
    result.add_column("")
    for name in ("requests", *SHOWN):
        result.add_column(name, justify="right")
    for name, about in description["classes"].items():
        for quantity in ("context_tokens", "output_tokens", "images", "interarrival_s"):
            if name == "text" and quantity == "images":
                continue
            result.add_row(*_cells(f"{name} {quantity.replace('_', ' ')}", about["requests"], about[quantity]))
    result.add_row(*_cells("requests per minute", description["requests"], description["per_minute"]))
    return result


def _cells(label: str, requests: int, values: dict[str, float | None]) -> list[str]:
    return [label, f"{requests:,}", *(_number(values[name]) for name in SHOWN)]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def lines(description: dict[str, Any]) -> list[str]:
    """What the table does not hold, one sentence a line."""
    rate = description["rate_rps"]
    share = description["hourly_image_share"]
    text = [
        f"image_count: {description['image_count']} (images = {_READING[description['image_count']]})",
        f"start {description['start']}, span {description['span_s']:,.1f} s, "
        f"rate {'-' if rate is None else f'{rate:.3f}'} requests/s",
        f"image share {description['image_share']:.1%} (hours: {share['min']:.1%} to {share['max']:.1%})",
    ]
    for name, about in description["classes"].items():
        found = ", ".join(f"{width.replace('_', ' ')} {_number(value)}" for width, value in about["fano"].items())
        text.append(f"dispersion of {name} requests (1 if Poisson): {found}")
    spearman = description["correlations"]["spearman"]
    known = [f"{pair} {value:+.2f}" for pair, value in spearman.items() if value is not None]
    return [*text, *([f"Spearman: {'; '.join(known)}"] if known else []), *_notes(description)]


def _notes(description: dict[str, Any]) -> list[str]:
    return [f"{key}: {value}" for key, value in description["notes"].items()]


_READING = {"sqrt": "root of the recorded count", "raw": "the recorded count itself"}
