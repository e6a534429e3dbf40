"""Trials as tasks of a Ray cluster that is already there (Moritz et al. 2018).

A trial is a pure function of the task, the configuration and the best trial so far, so where it runs changes nothing:
the same seed and as many trials under way give what processes of this machine give. A trial whose worker dies is run
again on another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from slackwise.errors import InputError
from slackwise.optional import require
from slackwise.simulator import Configuration
from slackwise.tuning.trials import Measured, Task, measure
from slackwise.tuning.workers import Waiting, Workers


class OnRay:
    """Trials on a cluster, `width` under way at a time."""

    def __init__(self, ray: Any, task: Task, width: int) -> None:
        self.ray, self.width, self.task = ray, width, ray.put(task)
        self.measure = ray.remote(num_cpus=1, max_retries=-1)(measure)

    def begin(self, configuration: Configuration, best: Measured | None) -> Waiting:
        reference = self.measure.remote(self.task, configuration, best)
        return lambda: self.ray.get(reference)


@contextmanager
def ray_workers(task: Task, width: int, address: str = "auto") -> Iterator[Workers]:
    """Workers on the cluster at `address`, whose machines have slackwise installed.

    Raises InputError if Ray is not installed, or no cluster is there.
    """
    ray = require("ray", "ray")
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=None)
    except (ConnectionError, ValueError, RuntimeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"no Ray cluster at '{address}' ({text}): start one with `ray start --head`") from None
    try:
        yield OnRay(ray, task, width)
    finally:
        ray.shutdown()
