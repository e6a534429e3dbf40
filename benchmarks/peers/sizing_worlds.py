"""The mean request of a trace, and the traffic between what AIConfigurator is told and what there is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.simulator.workload import IMAGE_SIZES, text_tokens
from slackwise.streams import stream
from slackwise.traces import Trace


@dataclass(frozen=True)
class MeanRequest:
    """The mean over all requests of a trace, those without images included."""

    rate_rps: float
    images: float
    text_tokens: float
    output_tokens: float

    @property
    def whole_images(self) -> int:
        """Images, which AIConfigurator takes in whole numbers; 1 at least, or it would leave out the encoder."""
        return max(1, round(self.images))

    def to_json(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self) | {"whole_images": self.whole_images}


def mean_request(trace: Trace) -> MeanRequest:
    """Raises InputError for a trace without images, or of fewer than two requests."""
    if trace.span_s <= 0:
        raise InputError(f"{trace.source}: a rate needs two requests that do not arrive at once")
    if not np.any(trace.images > 0):
        raise InputError(f"{trace.source}: no request has an image, so nothing is to be sized for the encoder")
    return MeanRequest(
        rate_rps=len(trace) / trace.span_s,
        images=float(trace.images.mean()),
        text_tokens=float(text_tokens(trace).mean()),
        output_tokens=float(trace.output_tokens.mean()),
    )


def worlds(trace: Trace, mean: MeanRequest, seed: int) -> dict[str, Trace]:
    """Traffic of the same number of requests and the same mean rate, each nearer to the trace than the one before."""
    count = len(trace)
    even: NDArray[np.float64] = trace.arrival_s[0] + np.arange(count) / mean.rate_rps
    gaps = stream(seed, "sizing/poisson").exponential(1.0, count)
    poisson = trace.arrival_s[0] + trace.span_s * (np.cumsum(gaps) - gaps[0]) / (gaps.sum() - gaps[0])
    order = stream(seed, "sizing/order").permutation(count)
    same = _all_the_same(trace, mean)
    return {
        "the mean request, evenly": replace(same, arrival_s=even),
        "the mean request, Poisson": replace(same, arrival_s=poisson),
        "its own requests in any order, Poisson": replace(trace.take(order), arrival_s=poisson),
        "the trace": trace,
    }


def _all_the_same(trace: Trace, mean: MeanRequest) -> Trace:
    """Every request is the mean one. Its context holds its images, at the size that `text_tokens` takes off again."""
    images = mean.whole_images
    recorded = images * images if trace.image_count == "sqrt" else images
    context = round(mean.text_tokens) + images * int(IMAGE_SIZES[-1])

    def everywhere(value: int) -> NDArray[np.int32]:
        return np.full(len(trace), value, np.int32)

    return replace(
        trace,
        recorded_images=everywhere(recorded),
        context_tokens=everywhere(context),
        output_tokens=everywhere(max(1, round(mean.output_tokens))),
    )
