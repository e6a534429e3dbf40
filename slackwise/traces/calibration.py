"""The statistics that the synthetic week is drawn from, as shipped in calibration.json.

Derived by tools/derive_trace_calibration.py from published statistics of the Azure LMM inference trace of 2025
(Microsoft Azure, CC-BY 4.0; Qiu et al., ModServe, SoCC 2025); no row of the trace is in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HOURS = 168
MINUTES = HOURS * 60
HEAVY = 100
"""Recorded images from which a request belongs to an image-heavy episode."""

_GRID = np.linspace(-9.0, 9.0, 1801)
_NORMAL_CDF = np.array([NormalDist().cdf(z) for z in _GRID])


def normal_cdf(z: Floats) -> Floats:
    """Standard normal distribution function, to 3e-6, shape of `z`."""
    share: Floats = np.interp(z, _GRID, _NORMAL_CDF)
    return share


@dataclass(frozen=True)
class Quantiles:
    """An inverse distribution function: knots of log10(value) over the share of values below, both rising."""

    share: Floats
    log10: Floats

    def at(self, u: Floats) -> NDArray[np.int32]:
        """The whole number at each quantile `u` in [0, 1]."""
        values: NDArray[np.int32] = np.rint(10.0 ** np.interp(u, self.share, self.log10)).astype(np.int32)
        return values


@dataclass(frozen=True)
class Scores:
    """Normal scores of one mark given the image count: mean and spread for each row of the image table.

    A request with image count k draws mean[k] + spread[k] * normal; its quantile in the mark's marginal
    distribution is the distribution function of the mixture over all k, so that the marginal is kept exactly.
    The highest `runaway` share of values falls on all k alike.
    """

    mean: Floats
    spread: Floats
    share: Floats  # of each k among image requests
    runaway: float = 0.0

    def draw(self, k: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """Quantiles in [0, 1] of requests with rows `k` of the image table, shape (n,)."""
        quantile = (1.0 - self.runaway) * self.mixed(k, rng.standard_normal(len(k)))
        runaway = 1.0 - self.runaway * rng.random(len(k))
        return np.where(rng.random(len(k)) < self.runaway, runaway, quantile)

    def mixed(self, k: NDArray[np.int64], normal: Floats) -> Floats:
        """Quantiles in the mixture alone, from standard normal draws, shape (n,)."""
        score = self.mean[k] + self.spread[k] * normal
        low, high = float(np.min(self.mean - 8 * self.spread)), float(np.max(self.mean + 8 * self.spread))
        grid = np.linspace(low, high, 4001)
        mixture = normal_cdf((grid[:, None] - self.mean) / self.spread) @ self.share
        share: Floats = np.interp(score, grid, mixture)
        return share


@dataclass(frozen=True)
class Calibration:
    """What the generator needs; arrays `*_rpm`, `image_burst`, `heavy_share` have one entry per hour of the week."""

    start: str  # UTC time of hour 0, ISO 8601
    source: str
    text_rpm: Floats  # text requests per minute
    image_rpm: Floats  # image requests per minute
    image_burst: Floats  # squared coefficient of variation of the image rate between minutes of the hour
    heavy_share: Floats  # of image requests, those with HEAVY or more recorded images
    memory: tuple[tuple[float, float], ...]  # (weight, correlation of neighbouring minutes) of parts of the image rate
    slot_concentration: float  # Dirichlet concentration of a minute's images over its 20-s slots
    heavy_burst: float  # squared coefficient of variation of the heavy share between minutes of the hour
    heavy_damping: float  # heavy requests come steadier than others: their share falls with (image requests)^-damping
    text_correlation: float  # of the normal scores of context and output tokens in text requests
    zero_output_share: float  # of all requests
    quantiles: dict[str, Quantiles]  # "context_text", "context_image", "output_text", "output_image"
    recorded_images: NDArray[np.int32]  # the image table, shape (k,)
    image_share: Floats
    context_scores: Scores
    output_scores: Scores

    @property
    def rows(self) -> int:
        """Requests of the calibrated week."""
        return round(60 * float(self.text_rpm.sum() + self.image_rpm.sum()))


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    """The shipped calibration."""
    return from_document(json.loads(files("slackwise.traces").joinpath("calibration.json").read_text("utf-8")))


def from_document(document: dict[str, Any]) -> Calibration:
    """The calibration in a document of the form of calibration.json."""
    hours, bursts, images = document["hours"], document["bursts"], document["images"]
    share = np.array(images["share"]) / np.sum(images["share"])
    return Calibration(
        start=document["start"],
        source=document["source"],
        text_rpm=np.array(hours["text_rpm"]),
        image_rpm=np.array(hours["image_rpm"]),
        image_burst=np.array(hours["image_burst"]),
        heavy_share=np.array(hours["heavy_share"]),
        memory=tuple((weight, correlation) for weight, correlation in bursts["memory"]),
        slot_concentration=bursts["slot_concentration"],
        heavy_burst=bursts["heavy_burst"],
        heavy_damping=bursts["heavy_damping"],
        text_correlation=document["text_correlation"],
        zero_output_share=document["zero_output_share"],
        quantiles={name: _quantiles(knots) for name, knots in document["quantiles"].items()},
        recorded_images=np.array(images["recorded"], np.int32),
        image_share=share,
        context_scores=_scores("context", document, share),
        output_scores=_scores("output", document, share),
    )


def _scores(mark: str, document: dict[str, Any], share: Floats) -> Scores:
    mean, spread = (np.array(document["images"][f"{mark}_{name}"]) for name in ("mean", "spread"))
    return Scores(mean, spread, share, document["runaway_share"][mark])


def _quantiles(knots: dict[str, list[float]]) -> Quantiles:
    return Quantiles(np.array(knots["percent"]) / 100.0, np.log10(np.array(knots["value"])))
