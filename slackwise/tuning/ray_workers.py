"""Trials, episodes and seeds as tasks of a Ray cluster that is already there (Moritz et al. 2018).

A task is a pure function of its arguments, so where it runs changes nothing: the same seed and as many under way give
what this machine gives. A task whose worker dies is run again on another.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from slackwise.errors import InputError
from slackwise.optional import require
from slackwise.simulator import Configuration
from slackwise.tuning.tasks import Waiting
from slackwise.tuning.trials import Measured, Task, measure
from slackwise.tuning.workers import Workers

CONNECT_S = 5.0


class RayTasks:
    """Tasks on the cluster that this process is connected to, `width` of them at a time worth beginning."""

    def __init__(self, width: int) -> None:
        self.ray, self.width = require("ray", "ray"), width

    def keep(self, value: Any) -> Any:
        return self.ray.put(value)

    def begin(self, function: Callable[..., Any], *arguments: Any) -> Waiting:
        reference = self.ray.remote(num_cpus=1, max_retries=-1)(function).remote(*arguments)
        return lambda: self.ray.get(reference)


class OnRay:
    """Trials on a cluster, `width` under way at a time."""

    def __init__(self, tasks: RayTasks, task: Task) -> None:
        self.tasks, self.width, self.task = tasks, tasks.width, tasks.keep(task)

    def begin(self, configuration: Configuration, best: Measured | None) -> Waiting:
        return self.tasks.begin(measure, self.task, configuration, best)


@contextmanager
def ray_tasks(width: int, address: str = "auto") -> Iterator[RayTasks]:
    """Tasks on the cluster at `address`, whose machines have slackwise installed.

    Raises InputError if Ray is not installed, or no cluster is there.
    """
    ray = require("ray", "ray")
    _check_there(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=None)
    except (ConnectionError, ValueError, RuntimeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"no Ray cluster at '{address}' ({text}): start one with `ray start --head`") from None
    try:
        yield RayTasks(width)
    finally:
        ray.shutdown()


def _check_there(address: str) -> None:
    """Raise InputError if nobody listens at HOST:PORT, for which Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"no Ray cluster at '{address}' ({error}): start one with `ray start --head`") from None


@contextmanager
def ray_workers(task: Task, width: int, address: str = "auto") -> Iterator[Workers]:
    """Workers for trials of `task` on the cluster at `address`. Raises InputError as `ray_tasks`."""
    with ray_tasks(width, address) as tasks:
        yield OnRay(tasks, task)
