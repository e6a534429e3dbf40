"""slackwise/Dispatch-v0: which instance gets the next request."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from slackwise.env.base import Observation, ServiceEnv, box, checked_number
from slackwise.env.scene import MODEL, service
from slackwise.errors import InputError
from slackwise.policies.declare import ROUTING, Instance, Params, Policy, Request
from slackwise.policies.learned.features import INSTANCE_FEATURES, REQUEST_FEATURES, Transform
from slackwise.simulator import Configuration, Objectives, Simulation
from slackwise.simulator.state import PREFILLING, ROLES


def _dictated(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance whose index is the draw of this decision, as a share of the pool."""
    return 0.0 if instance.index == int(request.draw * instance.pool_size) else 1.0


DICTATED = Policy("dictated", ROUTING, {}, "slackwise", _dictated)
"""Routes by the draw, which the environment writes before each decision."""


class DispatchEnv(ServiceEnv):
    """Route each request as it comes.

    ## Description
    One decision an arrival, semi-Markov: between two steps lies the time between two arrivals, `info["elapsed_s"]`.
    For instances that encode their own images (`EPD`, `EP+D`). Requests that arrive at the very same time are set
    apart by the least step of a float, so that each decision sees the one before.

    ## Action space
    Discrete: the number of the instance. `info["action_mask"]`, int8, and `action_masks()`, bool, say which take
    work. An instance that does not is an allowed action: the request then goes to the first one that does.

    ## Observation space
    Box, float32, after a fixed transform cut to its bounds. First the request, then instance by instance:

    OBSERVATIONS

    ## Reward
    As slackwise/Provision-v0: minus the misses that became certain since the last decision, each class alike, minus
    `gpu_price` times the share of GPU-seconds. Rewards are not discounted; `info["discount"]` is exp(-elapsed_s /
    `horizon_s`), the factor by which a learner discounts what follows (semi-Markov, Bradtke and Duff 1994). The
    first reward holds the time before the first arrival too.

    ## Start
    The first arrival of the window, the fleet empty.

    ## End
    Truncated when the last request of the window has been routed and the window is over, never terminated; the last
    reward holds what becomes of the work left over, and the last observation is of no request (zeros).

    ## Arguments
    `configuration` (a preset or a Configuration; default `vllm`), `model`, `gpu`, `gpus`, `objectives`, `gpu_price`
    = 0.25, `horizon_s` = 60, and the options of an episode: `trace`, `start_s`, `duration_s` = 14400, `load`,
    `image_share`, `faults`.

    ## Version history
    v0: first version.
    """

    def __init__(
        self,
        configuration: Configuration | str = "vllm",
        model: str = MODEL,
        gpu: str = "A100-80GB",
        gpus: int = 16,
        objectives: Objectives | None = None,
        gpu_price: float = 0.25,
        horizon_s: float = 60.0,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        served = service(configuration, model, gpu, gpus, objectives)
        super().__init__(served, self.scene_of(options), 60.0, gpu_price, render_mode)
        self.horizon_s = checked_number("horizon_s", horizon_s)
        if served.configuration.cluster.kinds[0] not in ("EPD", "EP"):
            kinds = "+".join(served.configuration.cluster.kinds)
            raise InputError(f"slackwise/Dispatch-v0 routes where instances encode (EPD, EP+D), not on {kinds}")
        pools = served.configuration.cluster.pools
        self.instances = sum(pool.ceiling for pool in pools if pool.stages == pools[0].stages)
        self.transform = Transform(REQUEST_FEATURES + INSTANCE_FEATURES * self.instances)
        self.observation_space = box(self.transform.low, self.transform.high)
        self.action_space = spaces.Discrete(self.instances)
        self.elapsed_s, self.owed = 0.0, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode and run to its first arrival. Raises InputError as ServiceEnv."""
        super().reset(seed=seed, options=options)
        self.elapsed_s = 0.0
        self._run_to_arrival()
        self.owed = float(self.lanes.reward[0])
        return self._observation(), self._info(False)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Route the request that waits, run to the next one. Raises InputError for an action out of bounds."""
        self._check_running()
        self._dictate(int(self.checked(action)))
        before_s = float(self.lanes.now_s[0])
        over = self._run_to_arrival(1)
        self.elapsed_s = float(self.lanes.now_s[0]) - before_s
        observation, reward, terminated, truncated, info = self._ended(over)
        reward, self.owed = reward + self.owed, 0.0
        return observation, reward, terminated, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Which instances take work, bool, shape (instances,)."""
        mask: NDArray[np.bool_] = np.asarray(self._group.index >= 0)
        return mask

    @property
    def _group(self) -> Any:
        return self.simulation.state.instances[: self.instances]

    def prepare(self, simulation: Simulation) -> None:
        """Route by the draw, and set arrivals apart."""
        simulation.decisions[ROLES.index("routing")] = DICTATED, DICTATED.params()
        simulation.replant()
        times = simulation.state.arrivals.ready_s
        for at in np.flatnonzero(np.diff(times) <= 0.0):
            times[at + 1] = np.nextafter(times[at], np.inf)

    def _dictate(self, instance: int) -> None:
        state = self.simulation.state
        clock, members = state.clock[0], state.groups[PREFILLING]
        index = max(0, int(state.instances.index[instance]))
        state.draws.value[int(clock.draws_used % clock.draw_count)] = (index + 0.5) / max(1, int(members.ready))

    def _run_to_arrival(self, decided: int = 0) -> bool:
        """Run until right before the next arrival that is not `decided`; whether the window's end came first."""
        state, end_s = self.simulation.state, float(self.lanes.end_s[0])
        coming_s, row = np.inf, int(state.clock[0].next_arrival) + decided
        if row < len(state.arrivals):
            coming_s = float(state.arrivals.ready_s[row])
        over = coming_s >= end_s
        self.lanes.move_to(np.array([end_s if over else np.nextafter(coming_s, -np.inf)]))
        return over

    def _observation(self) -> Observation:
        raw = np.zeros(len(self.transform.low))
        if not self._over():
            raw[: len(REQUEST_FEATURES)] = self._request()
        seen, now = self._group, float(self.lanes.now_s[0])
        columns = raw[len(REQUEST_FEATURES) :].reshape(self.instances, len(INSTANCE_FEATURES))
        columns[:, 0] = seen.index >= 0
        columns[:, 1], columns[:, 2], columns[:, 3] = seen.waiting, seen.running, seen.backlog_s
        columns[:, 4] = np.maximum(0.0, seen.busy_until_s - now)
        columns[:, 5] = seen.kv_used_tokens / np.maximum(1, seen.kv_capacity_tokens)
        return self.transform(raw)

    def _over(self) -> bool:
        state = self.simulation.state
        return bool(state.clock[0].next_arrival >= len(state.arrivals))

    def _request(self) -> list[float]:
        state = self.simulation.state
        request = state.requests[int(state.arrivals.request[int(state.clock[0].next_arrival)])]
        slack_s = max(0.0, float(request.deadline_s) - float(self.lanes.now_s[0]))
        sizes = (request.images, request.text_tokens, request.image_tokens, request.output_estimate_tokens)
        return [*map(float, sizes), request.encode_estimate_s, request.prefill_estimate_s, slack_s]

    def _info(self, over: bool) -> dict[str, Any]:
        told = {"elapsed_s": self.elapsed_s, "discount": float(np.exp(-self.elapsed_s / self.horizon_s))}
        return super()._info(over) | told | {"action_mask": self.action_masks().astype(np.int8)}


def observations(instances: int) -> str:
    """The table of observations with so many instances, as Markdown."""
    head = ["| index | name | min | max | unit | transform |", "|---|---|---|---|---|---|"]
    named = [(feature, f"request.{feature.name}") for feature in REQUEST_FEATURES]
    named += [(feature, f"instance{at}.{feature.name}") for at in range(instances) for feature in INSTANCE_FEATURES]
    return "\n".join([*head, *(feature.row(at, name) for at, (feature, name) in enumerate(named))])


if DispatchEnv.__doc__:
    DispatchEnv.__doc__ = DispatchEnv.__doc__.replace("OBSERVATIONS", observations(1).replace("\n", "\n    "))
