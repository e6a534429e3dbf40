"""Lanes: runs side by side, moved, changed and watched in one compiled call each. An environment has one or many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.env.drive import drive
from slackwise.env.resize import grow, shrink, switch
from slackwise.env.scene import Scene, Service
from slackwise.env.score import class_weights, gpu_weight
from slackwise.env.watch import EPISODE, look
from slackwise.policies.learned.features import Transform, features
from slackwise.simulator import Simulation
from slackwise.simulator.kernel import FULL, run
from slackwise.simulator.state import CLOCK, ROOMS, records
from slackwise.traces import Trace
from slackwise.traces.timestamps import parse_time_ns

Floats = NDArray[np.float64]
ROOM = 1024
"""Requests to be judged that a lane has room for at first."""

NS_PER_HOUR = 3_600_000_000_000

Prepare = Callable[[Simulation], None]
"""What an environment does to a run before its first event."""


class Lanes:
    """`count` runs of one service. Lane by lane: `begin`; all together: `change`, `move`, `close`."""

    def __init__(self, service: Service, count: int, gpu_price: float, interval_s: float) -> None:
        self.service, self.count = service, count
        self.gpu_price, self.interval_s = gpu_price, interval_s
        cluster = service.configuration.cluster
        self.pools, self.instances = len(cluster.pools), sum(pool.ceiling for pool in cluster.pools)
        settings = service.configuration.provisioning
        start_s, switch_s = settings.start_s, settings.role_switch_s
        self.load_s = np.array([cluster.costs(pool).load_s if start_s is None else start_s for pool in cluster.pools])
        self.switch_s = self.load_s if switch_s is None else np.full(self.pools, float(switch_s))
        self.simulations: list[Simulation] = []
        self.clocks, self.episodes = records(count, CLOCK), records(count, EPISODE)
        self.fields = self.clocks.view(np.ndarray)  # the same records; attributes of record arrays take long
        self.reward = self.episodes.view(np.ndarray)["reward"]
        self.waiting = np.zeros((count, ROOM), np.int32)
        self.before = np.zeros((count, self.pools, 2))
        self.now_s, self.end_s = np.zeros(count), np.zeros(count)
        self.scores = np.zeros(count)
        self.served = 0  # requests of the windows that were closed
        self.transform = Transform(features(self.pools))
        self.raw = np.zeros((count, len(features(self.pools))))

    def begin(self, lane: int, scene: Scene, random: np.random.Generator, prepare: Prepare | None = None) -> None:
        """Put a new run into a lane. Raises InputError for a window without requests."""
        window = scene.window(random, self.interval_s)
        simulation = self.service.begin(window, int(random.integers(2**31)), scene.given_faults)
        if prepare is not None:
            prepare(simulation)
        self._adopt(lane, simulation)
        self.now_s[lane], self.end_s[lane], self.scores[lane] = 0.0, scene.duration_s, 0.0
        self.before[lane] = 0.0
        self._begin_episode(lane, simulation, window, scene.duration_s)
        self._look_at(slice(lane, lane + 1), False)

    def change(self, change: NDArray[np.int64], giver: NDArray[np.int64], taker: NDArray[np.int64], least: int) -> None:
        """Drain, exchange, then start instances of every lane, now; int64, (lanes, pools) and (lanes,)."""
        self._make_room()
        if (change < 0).any():
            shrink(self.clocks, change, least, self.now_s)
            self._drive(self.now_s)
        if (giver >= 0).any():
            switch(self.clocks, giver, taker, least, self.switch_s, self.now_s)
            self._drive(self.now_s)
        grow(self.clocks, change, self.load_s, self.now_s)

    def move(self) -> NDArray[np.bool_]:
        """Run every lane for an interval, at most to the end of its window; which lanes are at their end."""
        np.minimum(self.now_s + self.interval_s, self.end_s, out=self.now_s)
        self.move_to(self.now_s)
        over: NDArray[np.bool_] = self.now_s >= self.end_s
        return over

    def move_to(self, until_s: Floats) -> None:
        """Run every lane up to a time of its own and look."""
        self.now_s = until_s
        self._drive(until_s)
        self._look_at(slice(None), False)
        self.scores += self.reward

    def close(self, lane: int) -> float:
        """Run a lane whose window is over until nothing is left to do; the reward of that."""
        chosen = slice(lane, lane + 1)
        kept, until_s = self.raw[lane].copy(), np.full(1, np.inf)
        self._drive(until_s, chosen)
        last_s = float(np.nanmax(self.simulations[lane].workload.progress.finish_s, initial=0.0))
        judged, missed = self.episodes.judged[lane].copy(), self.episodes.missed[lane].copy()
        self.now_s[lane] = max(float(self.end_s[lane]), last_s)
        self._look_at(chosen, True)
        reward = float(self.reward[lane]) - self._rejected(lane)
        self.episodes.judged[lane] += judged
        self.episodes.missed[lane] += missed
        self.raw[lane] = kept
        self.scores[lane] += reward
        self.served += len(self.simulations[lane].arrival_s)
        return reward

    def observe(self) -> NDArray[np.float32]:
        """Observations of all lanes, float32, shape (lanes, features)."""
        return self.transform(self.raw)

    def _rejected(self, lane: int) -> float:
        """What the requests cost that can never be served; no decision changes that."""
        simulation = self.simulations[lane]
        return float(class_weights(simulation)[simulation.category[simulation.rejected]].sum())

    def _adopt(self, lane: int, simulation: Simulation) -> None:
        """Let the clock of a run live among those of the lanes."""
        state = simulation.state
        self.clocks[lane : lane + 1] = state.clock
        state.clock = self.clocks[lane : lane + 1]
        state.point()
        simulation.decide()
        if lane == len(self.simulations):
            self.simulations.append(simulation)
        self.simulations[lane] = simulation

    def _begin_episode(self, lane: int, simulation: Simulation, window: Trace, duration_s: float) -> None:
        episode, objectives = self.episodes[lane], simulation.objectives
        self.episodes[lane] = np.zeros((), EPISODE)
        episode.hour = parse_time_ns(window.start) % (24 * NS_PER_HOUR) / NS_PER_HOUR
        episode.weight[:] = class_weights(simulation)
        episode.gpu_weight = gpu_weight(simulation, self.gpu_price, duration_s)
        episode.text_tbt_s, episode.image_tbt_s = objectives.text_tbt_s, objectives.image_tbt_s

    def _look_at(self, lanes: slice, over: bool) -> None:
        clocks, episodes, now_s = self.clocks[lanes], self.episodes[lanes], self.now_s[lanes]
        while needed := look(clocks, episodes, self.waiting[lanes], self.before[lanes], now_s, over, self.raw[lanes]):
            wider = np.zeros((self.count, 2 * int(needed)), np.int32)
            wider[:, : self.waiting.shape[1]] = self.waiting
            self.waiting = wider

    def _make_room(self) -> None:
        """See to it that a step's orders fit: to drain, exchange and start every instance."""
        clocks = self.fields
        most = 3 * self.instances
        tight = clocks["orders"] + clocks["leaves"] + most + 2 > clocks["order_room"]
        tight |= clocks["transfers"] + most + 1 > clocks["transfer_room"]
        for lane in np.flatnonzero(tight):
            self.simulations[lane].state.reserve(most)

    def _drive(self, until_s: Floats, lanes: slice = slice(None)) -> None:
        """Run lanes: one alone by its own door, several together."""
        chosen = self.simulations[lanes]
        if len(chosen) == 1:
            chosen[0].run_until(float(until_s[0]))
            return
        clocks, status = self.clocks[lanes], np.zeros(len(chosen), np.int64)
        drive(run, clocks, until_s, status)
        while (status >= FULL).any():
            for at in np.flatnonzero(status >= FULL):
                chosen[at].state.grow(ROOMS[status[at] - FULL])
            drive(run, clocks, until_s, status)
        self.fields[lanes]["reached_s"] = until_s


def run_info(lanes: Lanes, lane: int, over: bool) -> dict[str, Any]:
    """Numbers about the last step of a lane, flat; at the end of an episode those of the whole."""
    episode: Any = lanes.episodes[lane]
    info = {
        "time_s": float(lanes.now_s[lane]),
        "judged": int(episode.judged.sum()),
        "missed": int(episode.missed.sum()),
        "gpus": int(episode.gpus),
        "gpu_s": float(episode.gpu_s),
    }
    return info | ({"score": float(lanes.scores[lane])} if over else {})
