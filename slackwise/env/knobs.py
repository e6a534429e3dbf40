"""slackwise/Knobs-v0: the knobs of the policies, turned while they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from slackwise.env.base import ServiceEnv
from slackwise.env.scene import MODEL, PRESET, service
from slackwise.errors import InputError, unknown
from slackwise.policies.knobs import Knob, Value
from slackwise.policies.learned.axis import place_of, value_of
from slackwise.policies.learned.features import table
from slackwise.simulator import Configuration, Objectives, Simulation
from slackwise.simulator.state import ROLES


class KnobsEnv(ServiceEnv):
    """Turn the knobs of the policies, once an interval.

    ## Description
    A trace's window is served by a configuration whose fleet does not change. The policies are those of the
    configuration; each step gives the knobs of the roles chosen new values, which hold from now on. Queues are
    ranked anew under them.

    ## Action space
    Box, float32, -1 to 1: one axis a knob, role by role in the order of the policies' declarations (`knob_names`).
    The axis is the knob's range, linear or logarithmic as declared; whole numbers are rounded, choices have equal
    parts, and of a knob that may be off the last tenth of the axis is off. `default_action` holds the
    configuration's values.

    ## Observation space
    Box, float32, after a fixed transform cut to its bounds. For encoders and LLM instances apart:

    OBSERVATIONS

    ## Reward
    As slackwise/Provision-v0: minus the misses that became certain, each class alike, minus `gpu_price` times the
    share of GPU-seconds. The sum of an episode is its score (slackwise.env.score).

    ## Start
    The fleet empty at the window's begin: `start_s`, or a whole interval drawn at random.

    ## End
    Truncated at the end of the window, never terminated; the last reward holds what becomes of the work left over.

    ## Arguments
    `configuration` (a preset or a Configuration; by default `modserve` with `least_slack` queues and a tile
    budget), `roles` (by default every role whose policy has knobs), `model`, `gpu`, `gpus`, `objectives`,
    `interval_s` = 60, `gpu_price` = 0.25, and the options of an episode: `trace`, `start_s`, `duration_s` = 14400,
    `load`, `image_share`, `faults`.

    ## Version history
    v0: first version.
    """

    def __init__(
        self,
        configuration: Configuration | str | None = None,
        roles: Sequence[str] | None = None,
        model: str = MODEL,
        gpu: str = "A100-80GB",
        gpus: int = 16,
        objectives: Objectives | None = None,
        interval_s: float = 60.0,
        gpu_price: float = 0.25,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        served = service(configuration or PRESET, model, gpu, gpus, objectives)
        if configuration is None:
            served = service(slack_configuration(served.configuration), objectives=served.objectives)
        super().__init__(served, self.scene_of(options), interval_s, gpu_price, render_mode)
        self.knobs = _knobs(served.configuration, roles)
        self.knob_names = [f"{role}.{name}" for role, name, _ in self.knobs]
        self.action_space = spaces.Box(-1.0, 1.0, (len(self.knobs),), np.float32)

    @property
    def default_action(self) -> NDArray[np.float32]:
        """The action that leaves every knob at the configuration's value."""
        policies = self.service.configuration.policies
        values = [getattr(policies, role).knobs[name] for role, name, _ in self.knobs]
        places = [place_of(knob, value) for (_, _, knob), value in zip(self.knobs, values, strict=True)]
        return np.array([2.0 * place - 1.0 for place in places], np.float32)

    def values(self, action: NDArray[np.float32]) -> dict[str, dict[str, Value]]:
        """The knobs that an action sets, by role and name."""
        places = (np.asarray(action, float) + 1.0) / 2.0
        chosen: dict[str, dict[str, Value]] = {}
        for (role, name, knob), place in zip(self.knobs, places, strict=True):
            chosen.setdefault(role, {})[name] = value_of(knob, float(place))
        return chosen

    def prepare(self, simulation: Simulation) -> None:
        """Let queues be ranked anew whatever the knobs."""
        for role in {role for role, _, _ in self.knobs}:
            simulation.turn(role)

    def turn(self, simulation: Simulation, action: NDArray[Any]) -> None:
        """Give a run the knobs of an action."""
        for role, knobs in self.values(action).items():
            simulation.turn(role, **knobs)

    def _act(self, action: NDArray[Any]) -> None:
        self.turn(self.simulation, action)


def slack_configuration(configuration: Configuration) -> Configuration:
    """The configuration with slack everywhere, whose aging, rule for late requests and tile budget can be turned."""
    changes = ("batching=least_slack", "encode_batching=least_slack", "chunking=tile_budget")
    policies = configuration.policies.changed(changes)
    return Configuration(f"{configuration.name}, slack", configuration.cluster, policies)


def _knobs(configuration: Configuration, roles: Sequence[str] | None) -> list[tuple[str, str, Knob]]:
    """(role, name, knob) of every knob to turn. Raises InputError for an unknown role or if there is no knob."""
    for role in roles or ():
        if role not in ROLES:
            raise unknown("role", role, ROLES)
    policies = configuration.policies
    found = [(role, name, knob) for role in roles or ROLES for name, knob in policies.policy(role).knobs.items()]
    if not found:
        chosen = ", ".join(f"{role}={getattr(policies, role).name}" for role in roles or ROLES)
        raise InputError(f"there is no knob to turn: {chosen}")
    return found


if KnobsEnv.__doc__:
    KnobsEnv.__doc__ = KnobsEnv.__doc__.replace("OBSERVATIONS", table(("E", "PD")).replace("\n", "\n    "))
