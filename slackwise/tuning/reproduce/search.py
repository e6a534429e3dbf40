"""What `slackwise tune` finds from ModServe's service on other days, on the paper's engine and on today's.

It looks for attainment, on fleets of the sizes that are judged: a small one has queues that a large one has not. On the
largest it looks once more for services that answer earlier than ModServe's on the same engine: objectives that give
large requests more time are else met by using that time. Both readings of the image counts are searched: a service that
has seen the usual one alone has too few encoders for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from slackwise.errors import InputError
from slackwise.simulator import Configuration, simulate
from slackwise.simulator.configuration_file import configuration_from, write_toml
from slackwise.traces import Trace
from slackwise.tuning.goals import Bound
from slackwise.tuning.goals import Goal as Metric
from slackwise.tuning.outcome import run_windows
from slackwise.tuning.paired import judge
from slackwise.tuning.reproduce.finding import Finding, Row
from slackwise.tuning.reproduce.services import (
    NO_LATER,
    NO_LATER_TODAY,
    ROUTING,
    TUNED,
    TUNED_TODAY,
    Tuned,
    modserve,
    monolith,
)
from slackwise.tuning.reproduce.setting import COUNTS, Progress, Setting
from slackwise.tuning.reproduce.traffic import at_rate, busy_rate, describe, one_after_another, searched, window
from slackwise.tuning.space import CHOICES, Space
from slackwise.tuning.trials import Task
from slackwise.tuning.tune_search import Budget, History
from slackwise.tuning.tune_search import search as run_search

LOAD = 0.6
"""Of the searched traffic, as in ablation.LOADS."""

EARLIER = ("ttft_mean_s", "ttft_p99_s")
"""Metrics that must be lower on the searched days than those of trial 0, where this is asked."""

SHARE = 0.99
"""Of trial 0's that they may be: days that were not searched differ."""

PARTS, FEWEST_GPUS = (8, 4, 2, 1), 16
"""Fleets that are searched: these parts of the largest one."""

SEARCHES = (TUNED, TUNED_TODAY, NO_LATER, NO_LATER_TODAY)
TODAY_ENGINE = {TUNED_TODAY: "vllm", NO_LATER_TODAY: "vllm"}
"""The engine of what is not tuned on the paper's."""

BOUNDED = (NO_LATER, NO_LATER_TODAY)
SAMPLER = "tpe"


def search(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """Search layout, policies and knobs for attainment; judge on days that no trial saw, against ModServe's service."""
    rows: list[Row] = []
    notes, found = list[str](), dict[str, Any]()
    jobs = [(model, name, gpus) for model in setting.models for name in SEARCHES for gpus in _fleets(setting, name)]
    for at, (model, name, gpus) in enumerate(jobs):
        told = f"{model}, {name}, {gpus} GPUs"

        def tell(history: History, at: int = at, told: str = told) -> None:
            progress(f"{told}: {len(history.entries)} trials", (at + len(history.entries) / setting.trials) / len(jobs))

        first = _start(setting, model, gpus, TODAY_ENGINE.get(name, setting.engine))
        made, task, trial = _searched(setting, first, name, tell)
        found.setdefault(model, {}).setdefault(name, []).append(configuration_document(made))
        kept = _loaded(setting, model, gpus, COUNTS[0], window(setting, COUNTS[0]))
        rows.append(_judged(setting, model, first, made, kept))
        notes.append(f"{told}: {trial}, {made.cluster.describe()}")
        if (name, gpus) == (TUNED, setting.gpus):
            notes.append(f"{model}, {gpus} GPUs: searched {describe(task.trace)}; judged {describe(kept)}")
    why = "The paper tunes nothing; its rules and its ratio of pools are trial 0 of each search."
    return Finding(tuple(rows), why, (), tuple(notes), {"services": found})


def _fleets(setting: Setting, name: str) -> list[int]:
    parts = (1,) if name in BOUNDED else PARTS
    return [gpus for part in parts if (gpus := setting.gpus // part) >= FEWEST_GPUS]


def _searched(
    setting: Setting, first: Configuration, name: str, tell: Callable[[History], None]
) -> tuple[Configuration, Task, str]:
    """The best service from `first` on, what was asked of it, and which trial it was."""
    cluster = first.cluster
    days = [_loaded(setting, cluster.model, cluster.gpus, count, searched(setting, count)) for count in COUNTS]
    task, space = _task(setting, first, one_after_another(days), name in BOUNDED), Space(first, CHOICES)
    history = run_search(task, space, SAMPLER, Budget(setting.trials), progress=tell)
    best = history.best or history.entries[0]
    trial = f"trial {best.number} of {len(history.entries)}"
    return space.configuration(best.values, name), task, trial if history.best else f"{trial} (none answers earlier)"


def _loaded(setting: Setting, model: str, gpus: int, count: str, days: Trace) -> Trace:
    """Traffic of any days at LOAD of the searched ones."""
    busy = busy_rate(searched(setting, count), monolith(setting, model, gpus), setting)
    return at_rate(days, LOAD * busy, setting.seed)


def _task(setting: Setting, first: Configuration, trace: Trace, bounded: bool) -> Task:
    """Attainment on these arrivals; if `bounded`, answering EARLIER than `first`."""
    task = Task(trace, setting.objectives(first.cluster.model), (Metric("attainment"),), seed=setting.seed)
    if not bounded:
        return task
    theirs = simulate(trace, first, task.objectives, setting.seed)
    return replace(task, bounds=tuple(Bound(Metric(name), False, SHARE * Metric(name).of(theirs)) for name in EARLIER))


def _start(setting: Setting, model: str, gpus: int, engine: str) -> Configuration:
    """All of ModServe's rules, on an engine."""
    given = modserve(setting, model, gpus)
    pools = tuple(pool if pool.stages == "E" else replace(pool, engine=engine) for pool in given.cluster.pools)
    return replace(given, cluster=replace(given.cluster, pools=pools))


def _judged(setting: Setting, model: str, first: Configuration, made: Configuration, kept: Trace) -> Row:
    outcomes = [run_windows([kept], each, setting.objectives(model), setting.seed) for each in (first, made)]
    over = judge(outcomes, first.name).difference(made.name)
    case = f"{model}, {first.cluster.gpus} GPUs, load {LOAD:g}"
    what = f"{made.name}: SLO met over {ROUTING} on the same engine"
    main = first.cluster.gpus == setting.gpus
    return Row(what, case, 100 * over.difference, "points", 100 * over.low, 100 * over.high, main=main)


def configuration_document(configuration: Configuration) -> dict[str, Any]:
    """The configuration as the parsed TOML that `configuration_from` reads."""
    import tomllib

    return tomllib.loads(write_toml(configuration))


def tuned_of(data: Mapping[str, Any]) -> Tuned:
    """The services that the search's finding holds. Raises InputError for what is none."""
    try:
        return {
            model: {
                name: [configuration_from(each, model, each["cluster"]["gpu"], 0) for each in fleets]
                for name, fleets in services.items()
            }
            for model, services in data["services"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the search's result holds no services: {error!r}") from None
