"""CPU preprocessing: a front-end tier of workers that every image passes before its request reaches the router.

Its order is known at arrival (first come, first served, image by image), so the whole queue is worked off before the
run: all that it does to the rest is to shift when a request is there.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.jit import compiled
from slackwise.latency.model import Model
from slackwise.latency.preprocess import preprocess_seconds


@compiled("float64[::1](float64[::1], int64[::1], float64[::1], int64)")
def ready_times(arrival_s: Any, images: Any, image_s: Any, workers: int) -> Any:
    """When the last image of each request is done, shape (n,); requests in order of arrival, `image_s` each image.

    Images are taken one by one in order, each by the worker that is free first. A text request is ready at once.
    """
    ready_s = arrival_s.copy()
    free_s = [0.0] * workers
    for request in range(len(arrival_s)):
        for _ in range(images[request]):
            done_s = max(free_s[0], arrival_s[request]) + image_s[request]
            heapq.heapreplace(free_s, done_s)
            ready_s[request] = max(ready_s[request], done_s)
    return ready_s


def image_seconds(model: Model, size: tuple[int, int], images: NDArray[np.integer]) -> NDArray[np.float64]:
    """Worker seconds of one image of each request, shape (n,), 0 without images; `size` is width x height in pixels."""
    by_count = np.array([0.0, *(preprocess_seconds(model, *size, count) for count in (1, 2))])
    return by_count[np.minimum(images, 2)]


def alone_seconds(images: NDArray[np.integer], image_s: NDArray[np.float64], workers: int) -> NDArray[np.float64]:
    """Seconds from arrival to ready if nobody else is there, shape (n,): rounds of images over the workers."""
    return np.ceil(images / workers) * image_s
