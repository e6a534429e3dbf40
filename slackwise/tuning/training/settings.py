"""What a training run is told: environment, algorithm, budget, windows, hyperparameters. Loads nothing of its extra."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from slackwise.errors import InputError, unknown
from slackwise.simulator import PRESETS

PROVISION, KNOBS, DISPATCH = "Provision-v0", "Knobs-v0", "Dispatch-v0"
ENVIRONMENTS = (PROVISION, KNOBS, DISPATCH)


@dataclass(frozen=True)
class Algorithm:
    """An algorithm: where it is, what it learns, and its hyperparameters as we start them."""

    place: str  # module:class
    policy: str  # name of the policy class
    environments: tuple[str, ...]
    defaults: dict[str, Any]
    policy_defaults: Mapping[str, Any]
    continuous: bool = False  # whether it needs continuous actions

    @property
    def known(self) -> list[str]:
        """Hyperparameters that may be set."""
        return sorted([*self.defaults, *self.policy_defaults])


_PPO: dict[str, Any] = {
    "n_steps": 60, "batch_size": 240, "n_epochs": 10, "gamma": 0.98, "gae_lambda": 0.95, "learning_rate": 1e-3,
    "clip_range": 0.2, "ent_coef": 0.0, "vf_coef": 0.5, "max_grad_norm": 0.5,
}  # fmt: skip
_SAC: dict[str, Any] = {
    "buffer_size": 100_000, "learning_starts": 2000, "batch_size": 256, "gamma": 0.99, "learning_rate": 3e-4,
    "tau": 0.005, "train_freq": 1, "gradient_steps": 1,
}  # fmt: skip
_ARS: dict[str, Any] = {"n_delta": 8, "n_top": 4, "delta_std": 0.05, "learning_rate": 0.02, "n_eval_episodes": 16}
_NET: dict[str, Any] = {"net_arch": [64, 64]}

ALGORITHMS = {
    "ppo": Algorithm("stable_baselines3:PPO", "MlpPolicy", ENVIRONMENTS, _PPO, _NET),
    "sac": Algorithm("stable_baselines3:SAC", "MlpPolicy", (PROVISION, KNOBS), _SAC, _NET, continuous=True),
    "maskable_ppo": Algorithm("sb3_contrib:MaskablePPO", "MlpPolicy", (DISPATCH,), _PPO, _NET),
    "ars": Algorithm(
        "sb3_contrib:ARS", "LinearPolicy", (PROVISION, KNOBS, DISPATCH), _ARS, {"with_bias": True}, continuous=True
    ),
}
"""PPO (Schulman 2017), SAC (Haarnoja 2018), masked PPO (Huang 2022), a linear policy by random search (Mania 2018)."""

TIMED = {"gamma": 1.0}
"""Of Dispatch, whose discount is that of the time that passes: see timed.py."""


@dataclass(frozen=True)
class Settings:
    """One training run but for its seed. Raises InputError for what is unknown or does not fit together."""

    environment: str  # one of ENVIRONMENTS
    algorithm: str  # a key of ALGORITHMS
    steps: int = 100_000  # decisions to learn from
    lanes: int = 16  # windows side by side
    hours: float = 1.0  # length of a window
    split_h: tuple[float, float, float] = (96.0, 24.0, 48.0)  # hours to train, to choose, to test on, in this order
    windows: int = 64  # of the suites that choose and that test
    evaluations: int = 10  # times that the suite is run, evenly spread, besides the beginning
    trace: str = "synthetic"  # or the path of a file
    configuration: str = ""  # a preset; empty: the environment's own default
    model: str = "InternVL2.5-26B"
    gpu: str = "A100-80GB"
    gpus: int = 16
    reward_scale: float = 100.0  # rewards are multiplied by it on their way to the learner
    environment_arguments: Mapping[str, Any] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)  # that are not at their defaults

    def __post_init__(self) -> None:
        if self.environment not in ENVIRONMENTS:
            raise unknown("environment", self.environment, ENVIRONMENTS)
        if self.algorithm not in ALGORITHMS:
            raise unknown("algorithm", self.algorithm, ALGORITHMS)
        if self.environment not in self.chosen.environments:
            fit = [name for name, each in ALGORITHMS.items() if self.environment in each.environments]
            raise InputError(f"{self.algorithm} does not learn {self.environment}: take {' or '.join(fit)}")
        if self.configuration and self.configuration not in PRESETS:
            raise unknown("configuration", self.configuration, PRESETS)
        for name in ("steps", "lanes", "windows", "evaluations"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)} must be 1 or more")
        for name, value in (("hours", self.hours), ("reward_scale", self.reward_scale)):
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} = {value:g} must be above 0 and finite")
        if len(self.split_h) != 3 or not all(math.isfinite(part) and part >= self.hours for part in self.split_h):
            raise InputError(f"split: three parts of {self.hours:g} hours or more are needed, not {list(self.split_h)}")
        for name in self.hyperparameters:
            if name not in self.chosen.known:
                raise unknown(f"hyperparameter of {self.algorithm}", name, self.chosen.known)

    @property
    def chosen(self) -> Algorithm:
        """The algorithm."""
        return ALGORITHMS[self.algorithm]

    @property
    def continuous(self) -> bool:
        """Whether Provision is asked for continuous actions."""
        return self.environment == PROVISION and self.chosen.continuous

    def hyperparameters_of_model(self) -> dict[str, Any]:
        """Arguments of the algorithm's class, `policy_kwargs` among them."""
        given = self.hyperparameters
        defaults = self.chosen.defaults | (TIMED if self.environment == DISPATCH else {})
        own = {name: given.get(name, defaults[name]) for name in self.chosen.defaults}
        policy = {name: given.get(name, value) for name, value in self.chosen.policy_defaults.items()}
        return own | {"policy_kwargs": policy}

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, every hyperparameter resolved; arguments that are objects are there by their type."""
        arguments = {name: _plain(value) for name, value in self.environment_arguments.items()}
        document: dict[str, Any] = json.loads(json.dumps(asdict(replace(self, environment_arguments=arguments))))
        return document | {"resolved": self.hyperparameters_of_model()}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | list | None) else type(value).__name__


def settings_from(texts: Iterable[str]) -> dict[str, Any]:
    """Values by name of texts `name=value`, JSON where it can be read as such. Raises InputError for anything else."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise InputError(f"'{text}' is not understood: write name=value")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value.strip()
    return found


NAMES = tuple(each.name for each in fields(Settings))
