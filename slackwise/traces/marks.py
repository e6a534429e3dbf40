"""What the requests of the synthetic week carry: recorded images, context tokens, output tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.streams import stream
from slackwise.traces.calibration import HEAVY, Calibration, normal_cdf

Column = NDArray[np.int32]


@dataclass(frozen=True)
class Marks:
    """Columns of one length: recorded image counts, context tokens, output tokens."""

    images: Column
    context: Column
    output: Column


def text_marks(about: Calibration, count: int, seed: int) -> Marks:
    """Marks of `count` text requests: the two marginals, joined by a Gaussian copula."""
    rng = stream(seed, "trace.text")
    first, second = rng.standard_normal((2, count))
    rho = about.text_correlation
    context = about.quantiles["context_text"].at(normal_cdf(first))
    output = about.quantiles["output_text"].at(normal_cdf(rho * first + np.sqrt(1.0 - rho**2) * second))
    return Marks(np.zeros(count, np.int32), context, output)


def image_marks(about: Calibration, heavy: NDArray[np.bool_], seed: int) -> Marks:
    """Marks of image requests, those in `heavy` with HEAVY or more recorded images; tokens follow the image count."""
    rng = stream(seed, "trace.images")
    k = np.zeros(len(heavy), np.int64)
    for group in (False, True):
        k[heavy == group] = _image_rows(about, group, int(np.count_nonzero(heavy == group)), rng)
    context = about.context_scores.draw(k, rng)
    output = about.output_scores.draw(k, rng)
    return Marks(
        about.recorded_images[k],
        about.quantiles["context_image"].at(context),
        about.quantiles["output_image"].at(output),
    )


def _image_rows(about: Calibration, heavy: bool, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of the image table for `count` requests of one group, as near to their shares as whole numbers go."""
    share = np.where((about.recorded_images >= HEAVY) == heavy, about.image_share, 0.0)
    even = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    return np.minimum(np.searchsorted(np.cumsum(share) / share.sum(), even, side="right"), len(share) - 1)
