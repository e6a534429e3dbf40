"""A small search: which candidate serves one part of a trace best. What it finds is judged on another part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.optional import require
from slackwise.simulator import Objectives, Simulation, result_of
from slackwise.streams import stream
from slackwise.traces import Trace
from slackwise.tuning.search_space import (
    Candidate,
    default_parameters,
    published_parameters,
    slack_parameters,
    suggest,
)

LOOKS = (1 / 8, 1 / 4, 1 / 2)
"""Parts of the trace after which a hopeless candidate is stopped."""


@dataclass(frozen=True)
class Service:
    """What is tuned: a model on GPUs, judged by objectives."""

    model: str
    gpu: str
    gpus: int
    objectives: Objectives


@dataclass(frozen=True)
class Trial:
    """A candidate and the share of the searched requests that met both objectives."""

    number: int
    candidate: Candidate
    attainment: float
    stopped: bool = False  # before the end, when it could no longer win; `attainment` is then that of a beginning


@dataclass(frozen=True)
class Search:
    """The trials of a search, in order; trial 0 is the default of every knob."""

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The best trial; of equals the earliest, so the default stays unless something beats it."""
        return max(self.trials, key=lambda trial: (trial.attainment, -trial.number))


def search(
    trace: Trace, service: Service, trials: int, seed: int = 0, progress: Callable[[Trial], None] = lambda trial: None
) -> Search:
    """Search the space of `search_space` on `trace` with Optuna's TPE (Bergstra et al. 2011) for `trials` trials.

    Maximises SLO attainment. Trial 0 is what users run today, trials 1 and 2 are known good starts, the rest is
    suggested; a candidate suggested again is not simulated again. `progress` is called after each trial. The same
    seed gives the same trials. Raises InputError for less than one trial or if optuna is missing.
    """
    if trials < 1:
        raise InputError(f"a search needs at least 1 trial, not {trials}")
    study = _study(seed)
    for parameters in (default_parameters(), published_parameters(service.gpus), slack_parameters(service.gpus)):
        study.enqueue_trial(parameters)
    done: list[Trial] = []
    for number in range(trials):
        asked = study.ask()
        candidate = suggest(asked, service.gpus)
        known = next((trial for trial in done if trial.candidate == candidate), None)
        best = max((trial.attainment for trial in done), default=0.0)
        trial = replace(known, number=number) if known else _tried(number, candidate, trace, service, best, seed)
        study.tell(asked, trial.attainment)
        done.append(trial)
        progress(trial)
    return Search(tuple(done))


def _tried(number: int, candidate: Candidate, trace: Trace, service: Service, best: float, seed: int) -> Trial:
    """Simulate a candidate; stop once so many requests are late that it falls below `best` whatever comes."""
    configuration = candidate.configuration("trial", service.model, service.gpu, service.gpus)
    simulation = Simulation(trace, configuration, service.objectives, seed)
    for share in LOOKS:
        until_s = float(trace.arrival_s[0]) + share * trace.span_s
        simulation.run_until(until_s)
        late = _late(simulation, until_s)
        if 1.0 - late / len(trace) < best:
            arrived = int(np.searchsorted(trace.arrival_s, until_s, side="right"))
            return Trial(number, candidate, 1.0 - late / arrived, stopped=True)
    simulation.run_until()
    return Trial(number, candidate, float(result_of(simulation).met.mean()))


def _late(simulation: Simulation, until_s: float) -> int:
    """Requests that by `until_s` have missed their TTFT objective, their first token out or not."""
    requests, progress = simulation.workload.requests, simulation.workload.progress
    first_token_s = np.where(np.isnan(progress.first_token_s), until_s, progress.first_token_s)
    return int(np.count_nonzero(first_token_s > requests.deadline_s))


def _study(seed: int) -> Any:
    optuna = require("optuna", "tune")
    sampler = optuna.samplers.TPESampler(seed=int(stream(seed, "search").integers(2**31)))
    with _quiet(optuna):
        return optuna.create_study(direction="maximize", sampler=sampler)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna announces a new study on stderr; the caller reports progress, the library does not."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
