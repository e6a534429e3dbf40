"""Pictures of an episode: a line of text, or a Gantt chart of the instances over a chart of the queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator import Simulation
from slackwise.simulator.cluster import Cluster
from slackwise.simulator.state import DOWN, DRAINING, OFF, READY, STARTING

if TYPE_CHECKING:
    from slackwise.env.lanes import Lanes

Image = NDArray[np.uint8]

COLOURS = {
    OFF: (240, 240, 240),
    STARTING: (250, 200, 80),
    READY: (200, 225, 245),
    DRAINING: (190, 160, 210),
    DOWN: (200, 60, 60),
}
"""Of an instance by its status; a ready one darkens with its load."""

BUSY, QUEUE = (30, 90, 160), (200, 80, 40)
STEPS, CELL, ROW, CHART = 240, 3, 8, 80
"""Steps shown, pixels of a step, of an instance's row, of the queue chart."""

FULL_LOAD = 32
"""Requests on an instance at which it is drawn darkest."""


class Picture:
    """What the last steps looked like."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.status: list[NDArray[Any]] = []
        self.load: list[NDArray[Any]] = []
        self.queued: list[int] = []

    def clear(self) -> None:
        """Begin anew."""
        self.status, self.load, self.queued = [], [], []

    def add(self, simulation: Simulation) -> None:
        """Remember the state as it stands."""
        seen = simulation.state.instances
        self.status = [*self.status[1 - STEPS :], simulation.state.engines.status.copy()]
        self.load = [*self.load[1 - STEPS :], (seen.waiting + seen.running).astype(np.int64)]
        queued = int(seen.waiting.sum() + simulation.state.groups.parked.sum())
        self.queued = [*self.queued[1 - STEPS :], queued]

    def text(self, lanes: Lanes) -> str:
        """Time, instances of each pool by status, queue, misses of the last step, in a line."""
        state, episode = lanes.simulations[0].state, lanes.episodes[0]
        parts = [f"{lanes.now_s[0]:9.1f} s"]
        for at, pool in enumerate(self.cluster.pools):
            engines = state.engines[state.engines.pool == at]
            counts = [int((engines.status == each).sum()) for each in (READY, STARTING, DRAINING)]
            counts[1] += int((engines.awaits > 0).sum())
            parts.append(f"{pool.stages} {counts[0]} ready {counts[1]} starting {counts[2]} draining")
        waiting = int(state.instances.waiting.sum() + state.groups.parked.sum())
        parts.append(f"{waiting} waiting, {int(episode.missed.sum())} of {int(episode.judged.sum())} missed")
        return " | ".join(parts)

    def image(self) -> Image:
        """The chart, uint8, shape (height, width, 3); of the same size throughout an episode."""
        rows = sum(pool.ceiling for pool in self.cluster.pools)
        image = np.full((rows * ROW + CHART, STEPS * CELL, 3), 255, np.uint8)
        for step, (status, load) in enumerate(zip(self.status, self.load, strict=True)):
            columns = slice(step * CELL, (step + 1) * CELL)
            colours = _colours(status, load)
            image[: rows * ROW, columns] = np.repeat(colours, ROW, axis=0)[:, None, :]
        image[ROW - 1 : rows * ROW : ROW] = 255
        _draw_queue(image[rows * ROW :], self.queued)
        return image


def _colours(status: NDArray[Any], load: NDArray[Any]) -> Image:
    base = np.array([COLOURS[int(each)] for each in status], float)
    share = np.minimum(1.0, load / FULL_LOAD)[:, None] * np.isin(status, (READY, DRAINING))[:, None]
    colours: Image = (base + share * (np.array(BUSY) - base)).astype(np.uint8)
    return colours


def _draw_queue(chart: Image, queued: list[int]) -> None:
    """Bars as high as log(1 + waiting), ten thousand filling the chart."""
    for step, count in enumerate(queued):
        height = min(len(chart), round(len(chart) * float(np.log1p(count) / np.log1p(1e4))))
        chart[len(chart) - height :, step * CELL : (step + 1) * CELL] = QUEUE
