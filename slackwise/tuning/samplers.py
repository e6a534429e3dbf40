"""Samplers by name, and what each can do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from slackwise.errors import InputError, unknown
from slackwise.optional import require
from slackwise.policies.knobs import Choice, IntRange, Knob, Quantile, Range, Value

STARTUP = 20
"""Random trials before TPE models anything: a topology is half the space, and has to be seen more than once."""

DIGITS = 4
"""Of a real number that is suggested."""


@dataclass(frozen=True)
class Sampler:
    """A way to suggest trials. `choices`: it knows choices as such; else each is a stretch of a line of numbers."""

    source: str
    choices: bool
    bounds: bool  # whether it steers by constraints; all of them only declare a trial that keeps them the best
    several: bool  # whether it can have two objectives
    make: Callable[[Any, int], Any]  # (optuna, seed) -> sampler
    needs: tuple[str, str] | None = None  # module and extra


SAMPLERS = {
    "random": Sampler(
        "uniform and independent",
        True,
        False,
        True,
        lambda optuna, seed: optuna.samplers.RandomSampler(seed=seed),
    ),
    "qmc": Sampler(
        "scrambled Sobol points (Sobol 1967, Owen 1995)",
        False,
        False,
        True,
        lambda optuna, seed: optuna.samplers.QMCSampler(
            scramble=True, seed=seed, warn_asynchronous_seeding=False, warn_independent_sampling=False
        ),
        ("scipy", "tune"),
    ),
    "tpe": Sampler(
        "tree-structured Parzen estimator (Bergstra et al. 2011), multivariate",
        True,
        True,
        True,
        lambda optuna, seed: optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True
        ),
    ),
    "cmaes": Sampler(
        "CMA-ES (Hansen & Ostermeier 2001)",
        False,
        False,
        False,
        lambda optuna, seed: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
        ("cmaes", "tune"),
    ),
    "gp": Sampler(
        "Gaussian process, log expected improvement (Ament et al. 2023)",
        True,
        True,
        True,
        lambda optuna, seed: optuna.samplers.GPSampler(
            seed=seed, deterministic_objective=True, warn_independent_sampling=False
        ),
        ("torch", "gp"),
    ),
}
"""Samplers of `slackwise tune`."""


def find_sampler(name: str, objectives: int = 1) -> Sampler:
    """The sampler `name`. Raises InputError if it is unknown, not installed, or cannot have so many objectives."""
    if name not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    found = SAMPLERS[name]
    if objectives > 1 and not found.several:
        able = ", ".join(each for each, sampler in SAMPLERS.items() if sampler.several)
        raise InputError(f"sampler {name} has one objective, not {objectives}: use one of {able}")
    require("optuna", "tune")
    if found.needs is not None:
        require(*found.needs)
    return found


def distributions(sampler: Sampler, parameters: Mapping[str, Knob]) -> dict[str, Any]:
    """Parameter -> Optuna distribution."""
    known = require("optuna", "tune").distributions
    found: dict[str, Any] = {}
    for name, knob in parameters.items():
        if isinstance(knob, Choice):
            line = known.FloatDistribution(0.0, float(len(knob.names)))
            found[name] = known.CategoricalDistribution(knob.names) if sampler.choices else line
        elif isinstance(knob, IntRange):
            found[name] = known.IntDistribution(knob.low, knob.high, log=knob.log)
        elif isinstance(knob, Range):
            found[name] = known.FloatDistribution(knob.low, knob.high, log=knob.log)
    return found


def written(sampler: Sampler, parameters: Mapping[str, Knob], values: Mapping[str, Value]) -> dict[str, Any]:
    """Values as the sampler's parameters: a choice on a line of numbers stands in the middle of its stretch."""
    return {
        name: knob.names.index(str(values[name])) + 0.5
        if isinstance(knob, Choice) and not sampler.choices
        else values[name]
        for name, knob in parameters.items()
    }


def read(sampler: Sampler, parameters: Mapping[str, Knob], given: Mapping[str, Any]) -> dict[str, Value]:
    """The values that the sampler's parameters stand for; real numbers rounded to DIGITS digits."""
    return {name: _value(sampler, knob, given[name]) for name, knob in parameters.items()}


def _value(sampler: Sampler, knob: Knob, value: Any) -> Value:
    if isinstance(knob, Choice):
        chosen: str = value if sampler.choices else knob.names[min(int(value), len(knob.names) - 1)]
        return chosen
    if isinstance(knob, IntRange):
        return int(value)
    assert isinstance(knob, Range | Quantile)
    return min(max(float(f"{value:.{DIGITS}g}"), knob.low), knob.high)


@contextmanager
def quiet() -> Iterator[Any]:
    """Optuna without its announcements and its warnings of experimental parts; the caller reports progress."""
    optuna = require("optuna", "tune")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)
