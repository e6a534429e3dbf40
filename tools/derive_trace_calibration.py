"""Derive slackwise/traces/calibration.json from published statistics of the Azure LMM trace of 2025.

    python tools/derive_trace_calibration.py DATA_FOLDER [OUTPUT]

DATA_FOLDER holds azure_lmm_2025_stats.json and azure_lmm_2025_timeseries.csv (docs/traces.md names their origin).
Everything in the output is a statistic: knots of distribution functions, rates, shares and fitted parameters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slackwise.files import write_text
from slackwise.streams import stream
from slackwise.traces.calibration import HEAVY, Quantiles, Scores, normal_cdf

Floats = NDArray[np.float64]

CLASS_REQUESTS = 500_000  # of each class in the week, exact
TEXT_CORRELATION = 0.45  # between the Spearman values of the two real windows, 0.33 and 0.56
ZERO_OUTPUTS = 146  # rows without output in the week, exact
MEMORY = ((0.82, 0.28), (0.18, 0.93))  # gives autocorrelations near 0.25, 0.09 and 0.06 at lags 1, 2 and 5
SLOT_CONCENTRATION = 1.9  # set on the 1-s Fano factor of 1.76
HEAVY_BURST = 0.1  # with HEAVY_DAMPING set on the largest minute of 22,550 recorded images
HEAVY_DAMPING = 0.3
LARGEST_BURST, SMALLEST_BURST = 3.0, 0.05
TOLERANCE_PERCENT = 0.04  # of a distribution function, lost by dropping knots
RUNAWAY_CONTEXT = 0.0018  # of image requests; leaves 1,560 tokens a root to those of 600 images and more
TOKENS_PER_ROOT = 1560.0  # median in both real windows from 49 recorded images on
ROOT_LAW_FROM = 49
NINE = 9  # the second most frequent recorded count; its outputs are short in the real rows

TARGETS = {
    # name: (value, weight) of the cleaned subset (every column at most its 99th percentile) unless "all images"
    "context of one image": (1170.4, 40.0),
    "context of more": (8592.7, 40.0),
    "output of one image": (135.3, 40.0),
    "output of more": (166.7, 20.0),
    "Pearson images-context": (0.8754, 100.0),
    "Pearson images-output": (-0.0475, 200.0),
    "Pearson context-output": (0.0114, 50.0),
    "Spearman images-output, all images": (-0.28, 50.0),
    "rows": (979_123.0, 1500.0),
    "one-image rows": (328_709.0, 1500.0),
}
SCORES = {
    # parameter: (first value, first step): normal scores of groups of image requests relative to one-image requests
    "context spread, one": (0.3, 0.1),
    "context spread, some": (0.2, 0.05),
    "context spread, heavy": (0.05, 0.02),
    "output mean, nine": (-0.8, 0.2),
    "output mean, some": (0.0, 0.2),
    "output mean, heavy": (-0.8, 0.2),
    "output spread, nine": (2.0, 0.3),
    "output spread, some": (2.0, 0.3),
    "output spread, heavy": (1.5, 0.3),
}


def main(data: str, output: str = "slackwise/traces/calibration.json") -> None:
    """Write the calibration and print what its fit reached."""
    stats = json.loads((Path(data) / "azure_lmm_2025_stats.json").read_text("utf-8"))
    series = pd.read_csv(Path(data) / "azure_lmm_2025_timeseries.csv", comment="#")
    quantiles = all_quantiles(stats)
    images = image_table(stats)
    # One-image rows that the cleaned subset lost, to a long context or to a long output.
    cleaned = stats["exact_cleaned_subset"]["one_image"]["rows"]
    lost = 1.0 - cleaned / (CLASS_REQUESTS * images["share"][0])
    fit = Fit(quantiles, images, {"context": RUNAWAY_CONTEXT, "output": lost - RUNAWAY_CONTEXT})
    parameters = search(fit)
    for name, (target, _) in TARGETS.items():
        print(f"{name:40s} target {target:12.4f}  reached {fit.moments(parameters)[name]:12.4f}", file=sys.stderr)
    document = {
        "about": "Statistics derived from the Azure LMM inference trace 2025, Microsoft Azure, CC-BY 4.0",
        "source": "Qiu et al., ModServe, SoCC 2025, doi 10.1145/3772052.3772254",
        "made_by": "tools/derive_trace_calibration.py",
        "start": "2024-10-15T12:00:00Z",
        "hours": hours(series, images),
        "bursts": {
            "memory": MEMORY,
            "slot_concentration": SLOT_CONCENTRATION,
            "heavy_burst": HEAVY_BURST,
            "heavy_damping": HEAVY_DAMPING,
        },
        "text_correlation": TEXT_CORRELATION,
        "runaway_share": fit.runaway,
        "zero_output_share": ZERO_OUTPUTS / (2 * CLASS_REQUESTS),
        "images": {name: rounded(column, 6) for name, column in fit.table(parameters).items()},
        "quantiles": {
            name: {key: rounded(each, 5) for key, each in knots.items()} for name, knots in quantiles.items()
        },
    }
    write_text(output, json.dumps(document, indent=1, allow_nan=False).replace("\n   ", " ") + "\n")


def rounded(column: Floats, digits: int) -> list[float]:
    """Plain numbers with `digits` decimals."""
    return [round(float(value), digits) for value in column]


def hours(series: pd.DataFrame, images: dict[str, Floats]) -> dict[str, list[float]]:
    """Rates, burstiness and heavy share of each hour of the week."""
    hourly = series.groupby(np.arange(len(series)) // 60)
    rpm = {name: hourly[f"{name}_rpm"].mean().to_numpy() for name in ("text", "image")}
    rpm = {name: rate * CLASS_REQUESTS / (60 * rate.sum()) for name, rate in rpm.items()}
    total = hourly["total_rpm_exact"]
    # Counts vary by their own randomness (the mean) and by the image rate's: (level CV)^2 * (image rate)^2.
    burst = (total.var() - total.mean()).to_numpy() / rpm["image"] ** 2
    return {
        "text_rpm": rounded(rpm["text"], 4),
        "image_rpm": rounded(rpm["image"], 4),
        "image_burst": rounded(np.clip(burst, SMALLEST_BURST, LARGEST_BURST), 4),
        "heavy_share": rounded(heavy_share(hourly["images_per_min"].mean().to_numpy() / rpm["image"], rpm, images), 5),
    }


def heavy_share(mean_images: Floats, rpm: dict[str, Floats], images: dict[str, Floats]) -> Floats:
    """Share of heavy requests in each hour that explains its mean recorded images, scaled to the week's share."""
    heavy = images["recorded"] >= HEAVY
    mean = [float(np.average(images["recorded"][part], weights=images["share"][part])) for part in (~heavy, heavy)]
    share = np.clip((mean_images - mean[0]) / (mean[1] - mean[0]), 0.0, 0.95)
    wanted = images["share"][heavy].sum() * rpm["image"].sum()
    return np.asarray(share * wanted / (share @ rpm["image"]))


def image_table(stats: dict[str, Any]) -> dict[str, Floats]:
    """Recorded image counts and their shares."""
    table = stats["distributions"]["num_images_pmf_percent"]
    share = np.array(list(table.values()))
    return {"recorded": np.array([float(count) for count in table]), "share": share / share.sum()}


def all_quantiles(stats: dict[str, Any]) -> dict[str, dict[str, Floats]]:
    """Thinned knots of the four token distributions, led through the exact percentiles where there are any."""
    names = {
        "context_text": "context_text",
        "context_image": "context_image",
        "output_text": "generated_text",
        "output_image": "generated_image",
    }
    pins = stats["exact_percentiles"]
    return {
        name: thinned(stats["distributions"][origin], {float(p): float(v) for p, v in pins.get(origin, {}).items()})
        for name, origin in names.items()
    }


def thinned(knots: dict[str, Any], pins: dict[float, float]) -> dict[str, Floats]:
    """As few knots as keep the distribution function within TOLERANCE_PERCENT (closer in the tails), and the pins."""
    percent, value = np.array(knots["percent"]), np.array(knots["value"])
    for pin_percent, pin_value in pins.items():
        agrees = ((percent < pin_percent) & (value < pin_value)) | ((percent > pin_percent) & (value > pin_value))
        at = int(np.count_nonzero(agrees & (percent < pin_percent)))
        percent, value = np.insert(percent[agrees], at, pin_percent), np.insert(value[agrees], at, pin_value)
    log10 = np.log10(value)
    kept = {0, len(value) - 1} | {int(np.searchsorted(percent, pin)) for pin in pins}
    ends = sorted(kept)
    for first, last in pairwise(ends):
        kept |= set(needed(percent, log10, first, last))
    rows = sorted(kept)
    return {"percent": percent[rows], "value": value[rows]}


def needed(percent: Floats, log10: Floats, first: int, last: int) -> Iterator[int]:
    """Rows between `first` and `last` that a straight line misses by too much (Douglas and Peucker, 1973)."""
    inside = np.arange(first + 1, last)
    rise = log10[last] - log10[first]
    if not len(inside) or rise <= 0:
        return
    line = percent[first] + (percent[last] - percent[first]) * (log10[inside] - log10[first]) / rise
    tail = np.minimum(percent[inside], 100.0 - percent[inside])
    miss = np.abs(percent[inside] - line) / np.minimum(TOLERANCE_PERCENT, 0.002 + 0.1 * tail)
    worst = int(inside[np.argmax(miss)])
    if miss.max() > 1.0:
        yield worst
        yield from needed(percent, log10, first, worst)
        yield from needed(percent, log10, worst, last)


class Fit:
    """Moments of the image marks under given scores, by sums over a grid instead of draws: no noise in the search."""

    def __init__(
        self, quantiles: dict[str, dict[str, Floats]], images: dict[str, Floats], runaway: dict[str, float]
    ) -> None:
        points = 1200
        self.runaway = {mark: round(share, 6) for mark, share in runaway.items()}
        self.quantile = {
            name: Quantiles(knots["percent"] / 100, np.log10(knots["value"])) for name, knots in quantiles.items()
        }
        self.recorded, self.share = images["recorded"], images["share"]
        even = (np.arange(points) + 0.5) / points
        grid = np.linspace(-9, 9, 18001)
        self.normal = np.tile(np.interp(even, normal_cdf(grid), grid), (len(self.recorded), 1))
        self.k = np.tile(np.arange(len(self.recorded))[:, None], (1, points))
        self.context_99, self.output_99 = self.percentile("context", 0.99), self.percentile("output", 0.99)
        for mark, limit in (("context", self.context_99), ("output", self.output_99)):
            if self.quantile[f"{mark}_image"].at(np.array([1.0 - runaway[mark]]))[0] < limit:
                raise ValueError(f"runaway {mark}s must lie above the 99th percentile: row() keeps none of them")
        self.text = self.text_moments()

    def percentile(self, mark: str, share: float) -> float:
        """A quantile of both classes together."""
        even = (np.arange(200_000) + 0.5) / 200_000
        both = np.concatenate([self.quantile[f"{mark}_{name}"].at(even) for name in ("text", "image")])
        return float(np.quantile(both, share))

    def text_moments(self) -> Floats:
        """Sums over the cleaned text rows: count, N, C, G, NN, CC, GG, NC, NG, CG, in shares of the text rows."""
        first, second = stream(0, "calibration").standard_normal((2, 1_000_000))
        second = TEXT_CORRELATION * first + np.sqrt(1 - TEXT_CORRELATION**2) * second
        context = self.quantile["context_text"].at(normal_cdf(first)).astype(float)
        output = self.quantile["output_text"].at(normal_cdf(second)).astype(float)
        kept = ((context <= self.context_99) & (output <= self.output_99)).astype(float)
        zero = np.zeros(len(kept))
        return self.sums(kept, zero, context, output)

    @staticmethod
    def sums(weight: Floats, n: Floats, c: Floats, g: Floats) -> Floats:
        """Weighted mean of 1 and of all products up to the second order."""
        return np.array([np.mean(weight * each) for each in (1.0, n, c, g, n * n, c * c, g * g, n * c, n * g, c * g)])

    def table(self, parameters: Floats) -> dict[str, Floats]:
        """The image table with means and spreads of the normal scores."""
        p = dict(zip(SCORES, parameters, strict=True))
        one, nine, heavy = self.recorded == 1, self.recorded == NINE, self.recorded >= HEAVY
        grid = np.linspace(-9, 9, 18001)
        middle = np.cumsum(self.share) - self.share / 2
        context = self.quantile["context_image"]
        by_root = np.interp(np.log10(TOKENS_PER_ROOT * np.sqrt(self.recorded)), context.log10, context.share)
        by_root = np.minimum(by_root / (1.0 - self.runaway["context"]), 1.0 - 1e-6)
        spread = np.where(one, p["context spread, one"], p["context spread, some"])
        mean_out = np.where(one, 0.0, np.where(nine, p["output mean, nine"], p["output mean, some"]))
        spread_out = np.where(one, 1.0, np.where(nine, p["output spread, nine"], p["output spread, some"]))
        return {
            "recorded": self.recorded,
            "share": self.share,
            "context_mean": np.interp(np.where(self.recorded < ROOT_LAW_FROM, middle, by_root), normal_cdf(grid), grid),
            "context_spread": np.where(heavy, p["context spread, heavy"], spread),
            "output_mean": np.where(heavy, p["output mean, heavy"], mean_out),
            "output_spread": np.where(heavy, p["output spread, heavy"], spread_out),
        }

    def moments(self, parameters: Floats) -> dict[str, float]:
        """The quantities of TARGETS."""
        table = self.table(parameters)
        k, normal = self.k.ravel(), self.normal.ravel()
        u = {
            mark: (1.0 - self.runaway[mark])
            * Scores(table[f"{mark}_mean"], table[f"{mark}_spread"], self.share).mixed(k, normal)
            for mark in ("context", "output")
        }
        context, output = (self.quantile[f"{mark}_image"].at(u[mark]).reshape(self.k.shape).astype(float) for mark in u)
        rows = np.array([self.row(count, c, g) for count, c, g in zip(self.recorded, context, output, strict=True)])
        image = self.share @ rows
        one, more = rows[self.recorded == 1][0], self.share[1:] @ rows[1:]
        runaway = self.runaway["output"]
        rank = (1.0 - runaway) * u["output"].reshape(self.k.shape).mean(axis=1) + runaway
        return self.named((image + self.text) / 2, one, more) | {
            "one-image rows": CLASS_REQUESTS * self.share[0] * one[0],
            "Spearman images-output, all images": self.spearman(rank),
        }

    def row(self, count: float, context: Floats, output: Floats) -> Floats:
        """Sums of one image count; its two marks are independent of each other."""
        kept_c, kept_g = (context <= self.context_99).astype(float), (output <= self.output_99).astype(float)
        kept = float(count <= 484)  # the 99th percentile of recorded images, exact
        kept *= 1.0 - self.runaway["context"]
        c0, c1, c2 = (kept * float(np.mean(kept_c * context**power)) for power in (0, 1, 2))
        g0, g1, g2 = ((1.0 - self.runaway["output"]) * float(np.mean(kept_g * output**power)) for power in (0, 1, 2))
        n = count
        return np.array(
            [
                c0 * g0,
                n * c0 * g0,
                c1 * g0,
                c0 * g1,
                n * n * c0 * g0,
                c2 * g0,
                c0 * g2,
                n * c1 * g0,
                n * c0 * g1,
                c1 * g1,
            ]
        )

    def spearman(self, rank: Floats) -> float:
        """Spearman correlation of image count and output, from the mean output rank (0 to 1) of each count."""
        own = np.cumsum(self.share) - self.share / 2
        spread = np.sqrt(self.share @ (own - 0.5) ** 2 / 12)
        return float(self.share @ ((own - 0.5) * (rank - 0.5)) / spread)

    @staticmethod
    def named(all_rows: Floats, one: Floats, more: Floats) -> dict[str, float]:
        """Means and Pearson correlations from sums."""
        n, c, g, nn, cc, gg, nc, ng, cg = all_rows[1:] / all_rows[0]

        def pearson(ab: float, a: float, b: float, aa: float, bb: float) -> float:
            return float((ab - a * b) / np.sqrt((aa - a * a) * (bb - b * b)))

        return {
            "rows": 2 * CLASS_REQUESTS * float(all_rows[0]),
            "context of one image": float(one[2] / one[0]),
            "context of more": float(more[2] / more[0]),
            "output of one image": float(one[3] / one[0]),
            "output of more": float(more[3] / more[0]),
            "Pearson images-context": pearson(nc, n, c, nn, cc),
            "Pearson images-output": pearson(ng, n, g, nn, gg),
            "Pearson context-output": pearson(cg, c, g, cc, gg),
        }


def loss(fit: Fit, parameters: Floats) -> float:
    """Weighted squared distance to the targets: relative for amounts, absolute for correlations."""
    reached = fit.moments(parameters)
    total = 0.0
    for name, (target, weight) in TARGETS.items():
        total += (weight * (reached[name] - target) / max(1.0, abs(target))) ** 2
    return total


def search(fit: Fit, rounds: int = 60) -> Floats:
    """Pattern search (Hooke and Jeeves, 1961): one parameter at a time, steps halved when none helps."""
    best = np.array([first for first, _ in SCORES.values()])
    steps = np.array([step for _, step in SCORES.values()])
    spreads = np.array(["spread" in name for name in SCORES])
    value = loss(fit, best)
    for _ in range(rounds):
        before = value
        for place in range(len(best)):
            for sign in (1, -1):
                trial = best.copy()
                trial[place] += sign * steps[place]
                trial = np.where(spreads, np.maximum(trial, 0.01), trial)
                if (found := loss(fit, trial)) < value:
                    best, value = trial, found
                    break
        if value == before:
            steps = steps / 2
        if steps.max() < 0.01:
            break
    return best


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
