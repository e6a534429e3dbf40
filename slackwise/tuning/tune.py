"""Tune a service on one part of a trace and judge what was found on the rest, which the search never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.policies.winner import Winner
from slackwise.simulator import PRESETS, Configuration, preset
from slackwise.simulator.provisioning import given_settings
from slackwise.testing.golden import golden_decisions
from slackwise.traces import Trace, scale_rate, slice_time
from slackwise.traces.timestamps import NS_PER_S, parse_time_ns
from slackwise.traces.trace import facts
from slackwise.tuning.capacity import TARGET
from slackwise.tuning.goals import COST
from slackwise.tuning.interval import Difference
from slackwise.tuning.paired import Comparison, compare, judge
from slackwise.tuning.space import Space
from slackwise.tuning.trials import Task
from slackwise.tuning.tune_search import Entry, History

TUNED = "tuned"
"""Name of what was found."""

MARGIN = 0.01
"""Attainment that a cheaper service may lose against the start, at the lower end of the interval."""


@dataclass(frozen=True)
class Tuned:
    """What a search found, and its comparison with the start and the presets on the part that was kept back."""

    task: Task
    space: Space
    history: History
    chosen: Entry
    comparison: Comparison
    strongest: str  # of the baselines that keep the bounds, the best by the comparison's metric
    over_strongest: Difference
    broken: tuple[str, ...]  # bounds that the tuned service does not keep on the part kept back

    @property
    def over_start(self) -> Difference:
        """The tuned service against the start, in the comparison's metric."""
        return self.comparison.difference(TUNED)

    @property
    def keeps_attainment(self) -> bool:
        """Whether it is shown to attain no more than MARGIN less than the start; asked where cost is a goal."""
        cost = any(each.metric == COST for each in self.task.goals)
        return not cost or self.comparison.difference(TUNED, "attainment").low >= -MARGIN

    @property
    def wins(self) -> bool:
        """Whether it is shown better than the start, not shown worse than any baseline, and keeps its bounds."""
        better = self.over_start.verdict == "better" and self.over_strongest.verdict != "worse"
        return better and self.keeps_attainment and not self.broken

    @property
    def configuration(self) -> Configuration:
        """What to deploy: the tuned service if it wins, else the start."""
        return self.comparison.outcome(TUNED if self.wins else self.comparison.baseline).configuration

    @property
    def verdict(self) -> str:
        """One sentence."""
        over, metric, start = self.over_start, self.comparison.metric, self.comparison.baseline
        first = f"{TUNED} against {start}: {over.verdict} ({metric} {interval_words(over)})"
        if self.broken:
            return f"No winner: on the part kept back {TUNED} breaks {', '.join(self.broken)}; {first}"
        if self.wins:
            second = f"; against the strongest baseline, {self.strongest}: {self.over_strongest.verdict}"
            return f"Winner: {first}{'' if self.strongest == start else second}"
        if not self.keeps_attainment:
            lost = interval_words(self.comparison.difference(TUNED, "attainment"))
            return f"No winner: attainment {lost} may be more than {MARGIN:g} less; {first}"
        if over.verdict == "better":
            gap = interval_words(self.over_strongest)
            return f"No winner: worse than the strongest baseline, {self.strongest} ({metric} {gap}); {first}"
        return f"No winner: {first}"


def halves(trace: Trace, test_share: float, rate: float, seed: int) -> tuple[Trace, Trace]:
    """The first part of the trace's time, to search, and the last `test_share` of it, to judge, at `rate` times.

    Each part is superposed or thinned for itself, so that no request is in both. Raises InputError unless
    0 < test_share < 1, or if a part has no request.
    """
    if not 0.0 < test_share < 1.0:
        raise InputError(f"the share kept back is {test_share:g}: it must be above 0 and below 1")
    cut_s = float(trace.arrival_s[0]) + (1.0 - test_share) * trace.span_s
    parts = slice_time(trace, 0.0, cut_s), slice_time(trace, cut_s)
    searched, kept = (part if rate == 1.0 else scale_rate(part, rate, seed) for part in parts)
    return searched, kept


def apart(searched: Trace, kept: Trace) -> tuple[Trace, Trace]:
    """Two traces, if no request is in both: same arrival by the clock, images and tokens. Raises InputError else."""
    first, second = (_rows(each) for each in (searched, kept))
    if first & second:
        raise InputError(f"the trace that judges shares {len(first & second):,} requests with the searched one")
    return searched, kept


def _rows(trace: Trace) -> set[tuple[int, ...]]:
    start_ns = parse_time_ns(trace.start)
    arrival = (np.rint(trace.arrival_s * NS_PER_S).astype(np.int64) + start_ns).tolist()
    columns = (trace.recorded_images, trace.context_tokens, trace.output_tokens)
    return set(zip(arrival, *(each.tolist() for each in columns), strict=True))


def choose(history: History, target: float = TARGET) -> Entry:
    """The trial to deploy: the best; of a front of cost and attainment the cheapest that attains `target`.

    Raises InputError if no trial counts.
    """
    best = history.best
    if best is None:
        raise InputError("no trial could be served within the constraints: nothing is chosen")
    names = [each.metric for each in history.goals]
    if set(names) != {COST, "attainment"}:
        return best
    cost, attainment = names.index(COST), names.index("attainment")
    enough = [each for each in history.front if each.measured.values[attainment] >= target]
    if enough:
        return min(enough, key=lambda each: each.measured.values[cost])
    return max(history.front, key=lambda each: each.measured.values[attainment])


def judged(
    task: Task,
    space: Space,
    history: History,
    kept: Trace,
    target: float = TARGET,
    progress: Callable[[str], None] | None = None,
) -> Tuned:
    """Compare what `history` found with the start and the presets on `kept`, all on the same arrivals."""
    chosen, start = choose(history, target), space.start
    tuned = space.configuration(chosen.values, TUNED)
    metric = "gpu_s_per_good" if any(each.metric == COST for each in task.goals) else task.goals[0].metric
    contestants = [start, *_presets(start), tuned]
    found = compare(
        [kept],
        contestants,
        task.objectives,
        start.name,
        task.seed,
        metric,
        image_context=task.image_context,
        progress=progress,
    )
    strongest = _strongest(task, found)
    pair = [found.outcome(strongest), found.outcome(TUNED)]
    over = judge(pair, strongest, task.seed, metric).difference(TUNED)
    result = found.outcome(TUNED).result
    broken = tuple(each.name for each in task.bounds if each.violation(result) > 0.0)
    return Tuned(task, space, history, chosen, found, strongest, over, broken)


def _strongest(task: Task, found: Comparison) -> str:
    """The baseline that ranks first among those that keep the bounds; the start if none does."""
    for name in found.ranking():
        result = found.outcome(name).result
        if name != TUNED and all(each.violation(result) <= 0.0 for each in task.bounds):
            return name
    return found.baseline


def winner(tuned: Tuned, kept: Trace, provenance: dict[str, Any]) -> Winner:
    """The bundle of what is to be deployed."""
    task, trace = tuned.task, {"searched": facts(tuned.task.trace), "reported": facts(kept)}
    return bundle(tuned.configuration, task.objectives.to_json(), trace, scores(tuned), provenance, task.seed)


def bundle(
    configuration: Configuration,
    slo: dict[str, Any],
    trace: dict[str, Any],
    scores: dict[str, Any],
    provenance: dict[str, Any],
    seed: int,
) -> Winner:
    """A configuration as a bundle, its golden decisions recorded."""
    return Winner(
        policies=configuration.policies,
        model=configuration.cluster.model,
        gpu=configuration.cluster.gpu,
        cluster=asdict(configuration.cluster) | {"topology": configuration.cluster.topology},
        objectives=slo,
        scores=scores,
        provisioning=given_settings(configuration.provisioning),
        trace=trace,
        provenance=provenance,
        golden=golden_decisions(configuration.policies, seed),
    )


def scores(tuned: Tuned) -> dict[str, Any]:
    """What was reached on the part kept back, against what."""
    found = tuned.comparison
    return {
        "name": tuned.configuration.name,
        "wins": tuned.wins,
        "verdict": tuned.verdict,
        "metric": found.metric,
        "values": {name: each["all"][found.metric] for name, each in found.values.items()},
        "gpu_s": {each.name: each.result.gpu_s for each in found.outcomes},
        "tuned_minus_start": tuned.over_start.to_json(),
        "start": found.baseline,
        "strongest_baseline": tuned.strongest,
        "tuned_minus_strongest": tuned.over_strongest.to_json(),
        "broken": list(tuned.broken),
        "trial": tuned.chosen.number,
        "searched_values": dict(
            zip((each.name for each in tuned.task.goals), tuned.chosen.measured.values, strict=True)
        ),
        "trials": len(tuned.history.entries),
        "requests_simulated": tuned.history.requests,
    }


def interval_words(difference: Difference) -> str:
    """A difference with its interval: "+0.031 [+0.026, +0.036]"."""
    text = f"{difference.difference:+.3g}"
    if difference.verdict == "no interval":
        return text
    return f"{text} [{difference.low:+.3g}, {difference.high:+.3g}]"


def _presets(start: Configuration) -> Sequence[Configuration]:
    """The presets that fit the start's GPUs, but for the start itself; none if those are of several kinds."""
    found, cluster = [], start.cluster
    for name in PRESETS if cluster.one_gpu else ():
        try:
            made = preset(name, cluster.model, cluster.gpu, cluster.gpus)
        except InputError:
            continue
        if name != start.name:
            found.append(made)
    return found
