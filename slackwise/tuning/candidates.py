"""Candidates of the honest table, by name: what users run, rules of the literature, bad ones on purpose, and searches.

A candidate turns a setting into a configuration; whatever it simulates to get there is its budget. Another kind (a
learned policy, a plan that is solved again and again) joins by an entry in CANDIDATES, or as a winner.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from slackwise.errors import unknown
from slackwise.simulator import Configuration, disaggregated, preset
from slackwise.tuning.space import space_of
from slackwise.tuning.trials import Task
from slackwise.tuning.tune import choose
from slackwise.tuning.tune_search import Budget, History, search
from slackwise.tuning.workers import Workers

DEFAULT = "default"
"""Name of what users run today."""

CONTROL, SHIPPED, RULES, TUNED, LINEAR, LEARNED, PLANNED = -1, 0, 1, 2, 3, 4, 5
"""How much there is to understand and to keep: of two candidates that are not told apart the simpler one is taken.
Controls are bad on purpose and never win."""

PLANS = ("forecast_ilp",)
"""Provisioning policies that solve a plan again and again."""

MOST_TRIALS = 2000
"""Of a search, however small its trials: a space may be exhausted before the budget is."""


@dataclass(frozen=True)
class Setting:
    """What a candidate may use: the searched part of the trace, and so many simulated requests."""

    task: Task
    start: Configuration
    budget: int
    workers: Workers | None = None
    progress: Callable[[History], None] = lambda history: None


@dataclass(frozen=True)
class Made:
    """What a candidate came to."""

    configuration: Configuration
    requests: int = 0  # simulated on the way
    note: str = ""


@dataclass(frozen=True)
class Candidate:
    """One row of the table."""

    summary: str
    complexity: int  # SHIPPED to PLANNED, or CONTROL
    make: Callable[[Setting], Made]


def _shipped(setting: Setting) -> Made:
    return Made(setting.start)


def _apart(*settings: str) -> Callable[[Setting], Made]:
    """Encoders apart in ModServe's ratio, today's engine, first come and least loaded but for `settings`."""

    def make(setting: Setting) -> Made:
        cluster = setting.start.cluster
        pools = disaggregated(cluster.model, cluster.gpu, cluster.gpus).pools
        plain = preset("vllm", cluster.model, cluster.gpu, cluster.gpus).policies.changed(["chunking=per_image"])
        made = replace(setting.start, cluster=replace(cluster, pools=pools), policies=plain.changed(settings))
        return Made(made)

    return make


def _modserve(setting: Setting) -> Made:
    cluster = setting.start.cluster
    return Made(preset("modserve", cluster.model, cluster.gpu, cluster.gpus))


def _with(*settings: str) -> Callable[[Setting], Made]:
    return lambda setting: Made(replace(setting.start, policies=setting.start.policies.changed(settings)))


def _searched(sampler: str) -> Callable[[Setting], Made]:
    def make(setting: Setting) -> Made:
        space, budget = space_of(setting.start), Budget(MOST_TRIALS, setting.budget)
        found = search(setting.task, space, sampler, budget, setting.workers, progress=setting.progress)
        best = choose(found)
        note = f"trial {best.number} of {len(found.entries)}"
        return Made(space.configuration(best.values), found.requests, note)

    return make


CANDIDATES: dict[str, Candidate] = {
    DEFAULT: Candidate("what users run today", SHIPPED, _shipped),
    "fcfs": Candidate("encoders apart, first come, first served", RULES, _apart()),
    "edf": Candidate("encoders apart, earliest deadline first", RULES, _apart("encode_batching=edf", "batching=edf")),
    "least_slack": Candidate(
        "encoders apart, least slack first, sent to where it completes first",
        RULES,
        _apart(
            "encode_batching=least_slack",
            "batching=least_slack",
            "encode_routing=predicted_completion",
            "routing=predicted_completion",
        ),
    ),
    "modserve": Candidate("ModServe's rules on its own engine (SoCC 2025)", RULES, _modserve),
    "modserve_today": Candidate(
        "ModServe's rules on today's engine",
        RULES,
        _apart(
            "encode_routing=least_image_tokens",
            "encode_batching=modality_size_priority",
            "routing=least_total_tokens",
            "batching=modality_size_priority",
        ),
    ),
    "reverse_slack": Candidate("control: most slack first", CONTROL, _with("batching=reverse_slack")),
    "busiest_instance": Candidate("control: to the busiest", CONTROL, _with("routing=busiest_instance")),
    "random": Candidate("random search", TUNED, _searched("random")),
    "tpe": Candidate("search by TPE", TUNED, _searched("tpe")),
    "cmaes": Candidate("search by CMA-ES", TUNED, _searched("cmaes")),
}
"""Rows of the table if nothing else is said, in order."""


def find_candidates(
    names: Sequence[str], bundle: Callable[[str], Configuration | None], known: Mapping[str, Candidate] = CANDIDATES
) -> dict[str, Candidate]:
    """Candidates by name; what is none of `known` is asked of `bundle`: a configuration, or None if it is none.

    The default is always among them, first. Raises InputError for an unknown name, naming the closest.
    """
    found = {DEFAULT: known[DEFAULT]}
    for name in names:
        if name in known:
            found[name] = known[name]
            continue
        configuration = bundle(name)
        if configuration is None:
            raise unknown("candidate", name, known)
        found[configuration.name] = Candidate(name, _complexity(configuration), _given(configuration))
    return found


def _complexity(configuration: Configuration) -> int:
    provisioning = configuration.policies.provisioning
    if provisioning.actor is not None:
        return LEARNED
    return PLANNED if provisioning.name in PLANS else TUNED


def _given(configuration: Configuration) -> Callable[[Setting], Made]:
    return lambda setting: Made(configuration)
