"""slackwise/Provision-v0: how many instances each pool has."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from slackwise.env.base import ServiceEnv
from slackwise.env.scene import MODEL, PRESET, growing, service
from slackwise.errors import InputError
from slackwise.policies.learned.features import table
from slackwise.simulator import Configuration, Objectives


class ProvisionActions:
    """The action space of a service of some pools, and what an action orders.

    MultiDiscrete: for each pool a change of its instances, 0 to 2 * `most_change`, the middle being none; with several
    pools then a role switch: 0 none, else the ordered pair of pools (giver, taker) of that number. Or, if `continuous`,
    a Box from -1 to 1: for each pool its change in parts of `most_change`, rounded, and no role switch.
    """

    def __init__(self, pools: int, most_change: int, continuous: bool = False) -> None:
        if most_change < 1:
            raise InputError(f"most_change = {most_change} must be 1 or more")
        self.pools, self.most_change, self.continuous = pools, most_change, continuous
        self.pairs = np.array([(-1, -1), *permutations(range(pools), 2)], np.int64)
        self.switches = pools > 1 and not continuous
        counts = [2 * most_change + 1] * pools + [len(self.pairs)] * self.switches
        self.space: Any = spaces.Box(-1.0, 1.0, (pools,), np.float32) if continuous else spaces.MultiDiscrete(counts)

    def orders(self, actions: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Changes (lanes, pools), givers and takers (lanes,) of actions, shape (lanes, length of an action)."""
        if self.continuous:
            change = np.rint(actions * self.most_change).astype(np.int64)
        else:
            change = np.ascontiguousarray(actions[:, : self.pools], np.int64) - self.most_change
        pairs = self.pairs[actions[:, self.pools] if self.switches else np.zeros(len(actions), np.int64)]
        return change, np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


class ProvisionEnv(ServiceEnv):
    """Change the number of instances of each pool, once an interval.

    ## Description
    A trace's window is served by a configuration. An instance that is started takes its GPUs at once and is ready
    after the seconds that the model takes to load; one that is drained finishes its work first. `least` instances
    of each pool go on working, and all pools together hold no more GPUs than the configuration begins with: what
    does not fit is not started.

    ## Action space
    MultiDiscrete. Element i < pools: 0 to 2 * `most_change`, instances of pool i to add, plus `most_change` (that
    is the action that changes nothing). Drains call off starts, latest first, then take whoever has least work;
    starts call back whoever drains. With several pools one element more, a role switch: 0 none, else pool a gives
    instances to pool b, 1: (0, 1), 2: (1, 0) for two pools; the fewest ready ones whose GPUs make instances of b
    without a rest, if there are as many. The others load once the last GPU is free. With `continuous` a Box, -1 to 1:
    element i times `most_change`, rounded, is added to pool i; no role switch (for SAC and linear policies).

    ## Observation space
    Box, float32, after a fixed transform cut to its bounds. For the default, encoders and LLM instances apart:

    OBSERVATIONS

    ## Reward
    What the interval cost, at most 0: minus the misses that became certain in it, each 1 / (classes present *
    requests of its class in the window); minus `gpu_price` * GPU-seconds / (GPU cap * seconds of the window). The
    sum of an episode is its score (slackwise.env.score), which is recomputed from the Result.

    ## Start
    The configuration's fleet, ready and empty, at the window's begin: `start_s`, or a whole interval drawn at
    random.

    ## End
    Truncated at the end of the window, never terminated. Then the run goes on without arrivals and decisions until
    nothing is left to do, and the last reward holds what this costs: work pushed past the end is judged like any
    other.

    ## Arguments
    `configuration` (a preset or a Configuration), `model`, `gpu`, `gpus` (of a preset), `objectives`, `interval_s` =
    60, `most_change` = 2, `continuous` = False, `gpu_price` = 0.25; `least`, `gpu_cap`, `load_s`, `switch_s` (seconds
    of a start and of a role switch) in place of the configuration's; and the options of an episode, which `reset`
    takes too: `trace` (a Trace, a path or "synthetic"), `start_s`, `duration_s` = 14400, `load`, `image_share`,
    `faults`.

    ## Version history
    v0: first version.
    """

    def __init__(
        self,
        configuration: Configuration | str = PRESET,
        model: str = MODEL,
        gpu: str = "A100-80GB",
        gpus: int = 16,
        objectives: Objectives | None = None,
        interval_s: float = 60.0,
        most_change: int = 2,
        continuous: bool = False,
        least: int | None = None,
        gpu_cap: int | None = None,
        load_s: float | None = None,
        switch_s: float | None = None,
        gpu_price: float = 0.25,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        served = service(configuration, model, gpu, gpus, objectives)
        served = growing(served, least=least, gpu_cap=gpu_cap, start_s=load_s, role_switch_s=switch_s)
        super().__init__(served, self.scene_of(options), interval_s, gpu_price, render_mode)
        self.least = served.configuration.provisioning.least
        self.actions = ProvisionActions(self.lanes.pools, most_change, continuous)
        self.action_space = self.actions.space

    @property
    def default_action(self) -> NDArray[Any]:
        """The action that leaves the fleet as it is."""
        if self.actions.continuous:
            return np.zeros(self.actions.pools, np.float32)
        held = [self.actions.most_change] * self.actions.pools + [0] * self.actions.switches
        return np.array(held, np.int64)

    def _act(self, action: NDArray[Any]) -> None:
        self.lanes.change(*self.actions.orders(action[None, :]), self.least)


if ProvisionEnv.__doc__:
    ProvisionEnv.__doc__ = ProvisionEnv.__doc__.replace("OBSERVATIONS", table(("E", "PD")).replace("\n", "\n    "))
