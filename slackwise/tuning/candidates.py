"""Candidates of the honest table, by name: what users run, rules of the literature, bad ones on purpose, searches,
learners, plans that are solved again and again, and one that knows the future.

A candidate turns a setting into a configuration; whatever it simulates to get there is its budget. Another kind joins
by an entry in CANDIDATES, or as a winner.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from slackwise.errors import InputError, unknown
from slackwise.optional import require
from slackwise.simulator import Configuration, Result, disaggregated, preset
from slackwise.traces import Trace
from slackwise.tuning.space import space_of
from slackwise.tuning.trials import Task
from slackwise.tuning.tune import choose
from slackwise.tuning.tune_search import Budget, History, search
from slackwise.tuning.workers import Here, Workers

DEFAULT = "default"
"""Name of what users run today."""

CONTROL, SHIPPED, RULES, TUNED, LINEAR, LEARNED, PLANNED = -1, 0, 1, 2, 3, 4, 5
"""How much there is to understand and to keep: of two candidates that are not told apart the simpler one is taken.
Controls are bad on purpose and never win."""

PLANS = ("forecast_ilp",)
"""Provisioning policies that solve a plan again and again."""

MOST_TRIALS = 2000
"""Of a search, however small its trials: a space may be exhausted before the budget is."""


class CannotLearnError(InputError):
    """The trace or the budget is too small for a learner; the table then has no row for it."""


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


Serve = Callable[[Trace, Configuration, Task], Result]
"""How a trace is served if not by the configuration alone."""


@dataclass(frozen=True)
class Candidate:
    """One row of the table."""

    summary: str
    complexity: int  # SHIPPED to PLANNED, or CONTROL
    make: Callable[[Setting], Made]
    needs: tuple[tuple[str, str], ...] = ()  # (module, the extra that brings it)
    serve: Serve | None = None  # of what knows the future: shown, not deployable, never a winner

    @property
    def deployable(self) -> bool:
        """Whether it could run in a service: it knows no arrival before it comes."""
        return self.serve is None


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


_SLACK = (
    "encode_batching=least_slack",
    "batching=least_slack",
    "encode_routing=predicted_completion",
    "routing=predicted_completion",
)
"""Least slack first, sent to where it completes first."""


def _learned(algorithm: str) -> Callable[[Setting], Made]:
    def make(setting: Setting) -> Made:
        from slackwise.tuning.training.candidate import learned

        return learned(algorithm, _apart(*_SLACK)(setting).configuration, setting)

    return make


def _clairvoyant(trace: Trace, configuration: Configuration, task: Task) -> Result:
    from slackwise.tuning.clairvoyant import clairvoyant

    return clairvoyant(trace, configuration, task)


_LEARNS = (("stable_baselines3", "rl"), ("sb3_contrib", "rl"))
_SOLVES = (("ortools", "solver"), ("statsmodels", "solver"))

CANDIDATES: dict[str, Candidate] = {
    DEFAULT: Candidate("what users run today", SHIPPED, _shipped),
    "fcfs": Candidate("encoders apart, first come, first served", RULES, _apart()),
    "edf": Candidate("encoders apart, earliest deadline first", RULES, _apart("encode_batching=edf", "batching=edf")),
    "least_slack": Candidate(
        "encoders apart, least slack first, sent to where it completes first",
        RULES,
        _apart(*_SLACK),
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
    "ars": Candidate("least slack, fleet by a linear policy that ARS learned", LINEAR, _learned("ars"), _LEARNS),
    "ppo": Candidate("least slack, fleet by a network that PPO learned", LEARNED, _learned("ppo"), _LEARNS),
    "rolling_milp": Candidate(
        "least slack, fleet by a MILP over forecasts, solved again and again",
        PLANNED,
        _apart(*_SLACK, "provisioning=forecast_ilp"),
        _SOLVES,
    ),
    "clairvoyant_milp": Candidate(
        "as rolling_milp, told the arrivals to come", PLANNED, _apart(*_SLACK), _SOLVES, _clairvoyant
    ),
}
"""Rows of the table if nothing else is said, in order."""


def find_candidates(
    names: Sequence[str], bundle: Callable[[str], Configuration | None], known: Mapping[str, Candidate] = CANDIDATES
) -> dict[str, Candidate]:
    """Candidates by name; what is none of `known` is asked of `bundle`: a configuration, or None if it is none.

    The default is always among them, first. `NAME@SEED` searches or learns with another seed. Raises InputError for an
    unknown name, naming the closest, or for one that needs an extra which is not installed.
    """
    found = {DEFAULT: known[DEFAULT]}
    for name in names:
        if name in known:
            for module, extra in known[name].needs:
                require(module, extra)
            found[name] = known[name]
            continue
        base, at, seed = name.partition("@")
        if at and base in known and seed.isdigit():
            found[name] = _seeded(find_candidates([base], bundle, known)[base], int(seed))
            continue
        configuration = bundle(name)
        if configuration is None:
            raise unknown("candidate", name, known)
        found[configuration.name] = Candidate(name, _complexity(configuration), _given(configuration))
    return found


def _seeded(candidate: Candidate, seed: int) -> Candidate:
    """The candidate searched or learned with another seed; it serves with the seed of the table."""

    def make(setting: Setting) -> Made:
        running = setting.workers or Here(setting.task)
        return candidate.make(replace(setting, task=replace(setting.task, seed=seed), workers=running))

    return replace(candidate, summary=f"{candidate.summary}, seed {seed}", make=make)


def available(known: Mapping[str, Candidate] = CANDIDATES) -> tuple[dict[str, Candidate], dict[str, str]]:
    """All candidates whose extras are installed, and for each of the others the reason why it is left out."""
    found, left_out = dict[str, Candidate](), dict[str, str]()
    for name, candidate in known.items():
        missing = [(module, extra) for module, extra in candidate.needs if find_spec(module) is None]
        if missing:
            module, extra = missing[0]
            left_out[name] = f"{module} is not installed: pip install 'slackwise[{extra}]'"
        else:
            found[name] = candidate
    return found, left_out


def _complexity(configuration: Configuration) -> int:
    provisioning = configuration.policies.provisioning
    if provisioning.actor is not None or configuration.policies.routing.actor is not None:
        return LEARNED
    return PLANNED if provisioning.name in PLANS else TUNED


def _given(configuration: Configuration) -> Callable[[Setting], Made]:
    return lambda setting: Made(configuration)
