"""A study of one model: load, search on one part, judge what was found and the baselines on another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.simulator import PRESETS, Configuration, isolated, preset
from slackwise.traces import Trace
from slackwise.tuning.interval import Difference
from slackwise.tuning.outcome import Outcome, run_windows
from slackwise.tuning.paired import Comparison, compare, judge
from slackwise.tuning.search import Search, Service, Trial, search
from slackwise.tuning.search_load import TARGET, Load, load
from slackwise.tuning.search_space import DEFAULT

TUNED = "tuned"
"""Name of the best candidate of the search."""

FEWER_RESAMPLES = 300
"""Of the parts of the winner: many, and none decides anything."""

Progress = Callable[[str, float], None]
"""Is told what is being done and the share of the study that is over."""


@dataclass(frozen=True)
class Plan:
    """What a study is asked to do."""

    gpu: str = "A100-80GB"
    gpus: int = 16
    hours: float = 3.0  # reported; half of it is searched
    trials: int = 60
    seed: int = 0
    slo_factor: float = 5.0
    slo_scale: str = "work"  # a key of objectives.SCALES
    target: float = TARGET  # attainment of today's service on the searched part that the load is chosen for


@dataclass(frozen=True)
class Study:
    """What was found: `comparison` holds the baselines and TUNED on the reported part, differences to DEFAULT."""

    plan: Plan
    service: Service
    load: Load
    search: Search
    comparison: Comparison
    strongest: str  # the baseline with the highest attainment on the reported part
    over_strongest: Difference  # attainment of TUNED minus that of `strongest`
    without: dict[str, Difference]  # what is put back to its default -> attainment of that minus that of TUNED

    @property
    def over_default(self) -> Difference:
        """Attainment of TUNED minus that of today's service."""
        return self.comparison.difference(TUNED)

    @property
    def wins(self) -> bool:
        """Whether TUNED is shown to be better than today's service and not shown to be worse than any baseline."""
        return self.over_default.verdict == "better" and self.over_strongest.verdict != "worse"


def study(model: str, plan: Plan, progress: Progress = lambda what, share: None) -> Study:
    """Study `model`. The search sees the searched part alone; every number reported is of the other part.

    Raises InputError for an unknown model or GPU, one that does not fit the GPUs, or a plan out of range.
    """
    service = _service(model, plan)
    progress("finding the rate that loads the GPUs", 0.0)
    loaded = load(service, plan.hours / 2, plan.hours, plan.seed, plan.target)
    found = search(loaded.searched, service, plan.trials, plan.seed, _per_trial(progress, plan.trials))
    comparison = compare(
        [loaded.reported],
        _contestants(service, found),
        service.objectives,
        DEFAULT,
        plan.seed,
        progress=_told(progress),
    )
    progress("putting the winner's parts back to their defaults", 0.85)
    without = _without(found, service, comparison.outcome(TUNED), loaded.reported, plan.seed)
    strongest = next(name for name in comparison.ranking() if name != TUNED)
    pair = [comparison.outcome(strongest), comparison.outcome(TUNED)]
    over = judge(pair, strongest, plan.seed).difference(TUNED)
    return Study(plan, service, loaded, found, comparison, strongest, over, without)


def _without(found: Search, service: Service, tuned: Outcome, reported: Trace, seed: int) -> dict[str, Difference]:
    """What each part of the winner is worth: the rest without it, on the reported part."""
    configurations = [
        candidate.configuration(name, service.model, service.gpu, service.gpus)
        for name, candidate in found.best.candidate.without().items()
    ]
    outcomes = [run_windows([reported], each, service.objectives, seed) for each in configurations]
    judged = judge([tuned, *outcomes], TUNED, seed, resamples=FEWER_RESAMPLES)
    return {each.name: judged.difference(each.name) for each in outcomes}


def _service(model: str, plan: Plan) -> Service:
    known, gpu = load_model(model).name, load_gpu(plan.gpu).name
    cluster = preset(DEFAULT, known, gpu, plan.gpus).cluster
    return Service(known, gpu, plan.gpus, isolated(cluster, factor=plan.slo_factor, scale=plan.slo_scale))


def _contestants(service: Service, found: Search) -> list[Configuration]:
    named = [preset(name, service.model, service.gpu, service.gpus) for name in PRESETS]
    return [*named, found.best.candidate.configuration(TUNED, service.model, service.gpu, service.gpus)]


def _per_trial(progress: Progress, trials: int) -> Callable[[Trial], None]:
    """Searching is taken to be 0.1 to 0.7 of a study."""
    return lambda trial: progress(f"trial {trial.number + 1} of {trials}", 0.1 + 0.6 * (trial.number + 1) / trials)


def _told(progress: Progress) -> Callable[[str], None]:
    return lambda name: progress(f"serving the reported part with {name}", 0.75)
