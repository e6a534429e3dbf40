"""What an episode is about: a window of a trace, at a load, with a share of image requests; and a run of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.errors import InputError, unknown
from slackwise.simulator import Configuration, Objectives, Simulation, isolated, preset
from slackwise.simulator.configuration_file import read_faults
from slackwise.simulator.faults import Faults
from slackwise.simulator.provisioning import check_exchangeable, gpu_cap, roomy
from slackwise.traces import Trace, read, scale_rate, slice_time, synthesize
from slackwise.traces.resample import period_s, scale_image_share

SYNTHETIC = "synthetic"
"""The trace that stands for the calibrated synthetic week, seed 0."""

MODEL, PRESET, GPUS = "InternVL2.5-26B", "modserve", 16
"""What is served if nothing else is said."""


@dataclass(frozen=True)
class Scene:
    """Options of an episode. Raises InputError for a bad value."""

    trace: Trace | str | Path = SYNTHETIC  # or the path of a file
    start_s: float | None = None  # begin of the window; None: drawn, on a whole interval
    duration_s: float = 4 * 3600.0
    load: float = 1.0  # times the trace's rate
    image_share: float | None = None  # of the requests; None: the trace's own
    faults: Faults | str | None = None  # or as `mtbf_s=3600`, or a .toml file; None: the configuration's own

    def __post_init__(self) -> None:
        for name in ("start_s", "duration_s", "load", "image_share"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float | np.number) and math.isfinite(value)):
                raise InputError(f"option {name} = {value!r} must be a finite number")
        if self.duration_s <= 0 or self.load <= 0 or (self.start_s is not None and self.start_s < 0):
            raise InputError("options duration_s and load must be above 0, and start_s 0 or more")
        if not isinstance(self.faults, Faults | str | None):
            raise InputError(f"option faults must be Faults or text, not {type(self.faults).__name__}")
        if isinstance(self.faults, str):
            read_faults(self.faults)

    def changed(self, options: Mapping[str, Any] | None) -> Scene:
        """The scene with other options. Raises InputError for an unknown one, naming the closest."""
        for name in options or {}:
            if name not in OPTIONS:
                raise unknown("option", str(name), OPTIONS)
        return replace(self, **(options or {}))

    @property
    def given_faults(self) -> Faults | None:
        """The faults, read if they were written as text."""
        return read_faults(self.faults) if isinstance(self.faults, str) else self.faults

    def window(self, random: np.random.Generator, interval_s: float) -> Trace:
        """The requests of the window, on a clock that begins with it. Raises InputError if there is none."""
        trace = loaded(self.trace)
        if len(trace) == 0:
            raise InputError("the trace holds no request")
        room_s = period_s(trace) - self.duration_s
        if self.start_s is None and room_s < 0:
            raise InputError(f"a window of {self.duration_s:g} s is longer than the trace, {period_s(trace):g} s")
        start_s = self.start_s
        if start_s is None:
            start_s = interval_s * int(random.integers(int(room_s // interval_s) + 1))
        window = slice_time(trace, float(start_s), float(start_s) + self.duration_s)
        seed = int(random.integers(2**31))
        if self.load != 1.0:
            window = scale_rate(window, self.load, seed)
        return window if self.image_share is None else scale_image_share(window, self.image_share, seed)


OPTIONS = tuple(each.name for each in fields(Scene))


def loaded(trace: Trace | str | Path) -> Trace:
    """A trace as it is, of a file, or the synthetic week; files and the week are kept. Raises InputError as `read`."""
    if isinstance(trace, Trace):
        return trace
    if not isinstance(trace, str | Path):
        raise InputError(f"option trace must be a Trace, '{SYNTHETIC}' or a path, not {type(trace).__name__}")
    return _week() if str(trace) == SYNTHETIC else _file(str(trace))


@lru_cache(maxsize=1)
def _week() -> Trace:
    return synthesize(0)


@lru_cache(maxsize=4)
def _file(path: str) -> Trace:
    return read(path)


@dataclass(frozen=True)
class Service:
    """What serves: a configuration that may grow and shrink, judged by objectives."""

    configuration: Configuration
    objectives: Objectives

    def begin(self, window: Trace, seed: int, faults: Faults | None = None) -> Simulation:
        """A run of the window, its clock and its bill beginning at 0; with faults in place of the configuration's."""
        configuration = self.configuration if faults is None else replace(self.configuration, faults=faults)
        simulation = Simulation(window, configuration, self.objectives, seed)
        simulation.state.engines.since_s = 0.0
        simulation.state.clock[0].reached_s = 0.0
        simulation.state.clock[0].gpu_cap = gpu_cap(self.configuration.provisioning, self.configuration.cluster)
        return simulation


def service(
    configuration: Configuration | str = PRESET,
    model: str = MODEL,
    gpu: str = "A100-80GB",
    gpus: int = GPUS,
    objectives: Objectives | None = None,
) -> Service:
    """A configuration, or a preset by name. Objectives are by default those of `slackwise simulate`.

    Raises InputError for an unknown name.
    """
    chosen = preset(configuration, model, gpu, gpus) if isinstance(configuration, str) else configuration
    return Service(chosen, objectives or isolated(chosen.cluster, scale="work"))


def growing(served: Service, **settings: Any) -> Service:
    """The service with a fleet that nobody but the environment changes, as far as its GPUs go.

    `settings` are fields of Provisioning; those that are None stay as the configuration has them. Raises InputError for
    a bad value, or a cap below the GPUs that the fleet begins with.
    """
    configuration = served.configuration
    check_exchangeable(configuration.cluster)
    given = {name: value for name, value in settings.items() if value is not None}
    provisioning = replace(configuration.provisioning, **given)
    return replace(
        served,
        configuration=replace(
            configuration,
            cluster=roomy(provisioning, configuration.cluster),
            policies=configuration.policies.changed(["provisioning=fixed_ratio"]),
            provisioning=provisioning,
        ),
    )
