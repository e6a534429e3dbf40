"""Does the ranking survive an error of the latency model? The comparison again, with every constant moved up and down.

Objectives are multiples of an isolated request, so they move with the constants, as they would on the real hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slackwise.errors import InputError
from slackwise.latency.perturb import CONSTANTS
from slackwise.simulator import Configuration
from slackwise.traces import Trace
from slackwise.tuning.interval import Difference
from slackwise.tuning.outcome import ObjectivesOf
from slackwise.tuning.paired import Comparison, compare

OPPOSITE = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Case:
    """The comparison with one constant times a factor."""

    constant: str  # one of latency.perturb.CONSTANTS
    factor: float
    comparison: Comparison

    @property
    def name(self) -> str:
        """The constant and its factor."""
        return f"{self.constant} x {self.factor:g}"


@dataclass(frozen=True)
class Robustness:
    """A comparison and its cases: two for each constant, down and up by the share `error`."""

    error: float
    nominal: Comparison
    cases: tuple[Case, ...]

    @property
    def reordered(self) -> list[Case]:
        """Cases in which the configurations rank in another order."""
        order = self.nominal.ranking()
        return [case for case in self.cases if case.comparison.ranking() != order]

    def reversals(self, name: str) -> list[Case]:
        """Cases in which a configuration shown better than the baseline is shown worse, or the other way round."""
        opposite = OPPOSITE.get(self.nominal.difference(name).verdict)
        return [case for case in self.cases if case.comparison.difference(name).verdict == opposite]

    def lost(self, name: str) -> list[Case]:
        """Cases in which the difference of a configuration to the baseline is shown no more."""
        if self.nominal.difference(name).verdict not in OPPOSITE:
            return []
        return [case for case in self.cases if case.comparison.difference(name).verdict not in OPPOSITE]

    @property
    def verdict(self) -> str:
        """Whether the ranking by the comparison's metric holds, in one sentence."""
        margin, count = f"{self.error:.0%} in each of {len(CONSTANTS)} latency constants", len(self.cases)
        turned = {name: cases for name in self.nominal.differences if (cases := self.reversals(name))}
        if turned:
            named = "; ".join(f"{name} by {', '.join(case.name for case in cases)}" for name, cases in turned.items())
            return f"The ranking does not hold under an error of {margin}: reversed for {named}"
        lost = {name: len(cases) for name in self.nominal.differences if (cases := self.lost(name))}
        weaker = "".join(f"; the difference of {name} is not shown in {each} of {count}" for name, each in lost.items())
        if not self.reordered:
            return f"The ranking holds under an error of {margin}: the same order in all {count} cases{weaker}"
        return (
            f"No difference that was shown is reversed by an error of {margin}, but the order changes in "
            f"{len(self.reordered)} of {count} cases{weaker}"
        )

    def to_json(self) -> dict[str, Any]:
        """For JSON: the verdict and, for each case, ranking and differences by the comparison's metric."""
        return {
            "error": self.error,
            "verdict": self.verdict,
            "holds": not self.reordered and not any(self.reversals(name) for name in self.nominal.differences),
            "cases": [
                {
                    "constant": case.constant,
                    "factor": case.factor,
                    "ranking": case.comparison.ranking(),
                    "differences": {name: each.to_json() for name, each in differences(case.comparison).items()},
                }
                for case in self.cases
            ],
        }


def robustness(
    nominal: Comparison,
    windows: Sequence[Trace],
    objectives: ObjectivesOf,
    error: float,
    image_context: str = "subtract",
    progress: Callable[[str], None] | None = None,
) -> Robustness:
    """Repeat the comparison `nominal` of `windows` with every constant times 1 - error and 1 + error.

    `objectives` as in `compare`; a function of the configuration sees the moved constants. `progress` is told each
    case. Raises InputError unless 0 < error < 1.
    """
    if not 0.0 < error < 1.0:
        raise InputError(f"the latency error is {error:g}: it must be above 0 and below 1")
    configurations = [each.configuration for each in nominal.outcomes]
    cases = []
    for constant in CONSTANTS:
        for factor in (1.0 - error, 1.0 + error):
            if progress is not None:
                progress(f"{constant} x {factor:g}")
            shifted = [moved(each, constant, factor) for each in configurations]
            found = compare(
                windows,
                shifted,
                objectives,
                nominal.baseline,
                nominal.seed,
                nominal.metric,
                nominal.blocks.seconds,
                nominal.resamples,
                image_context,
            )
            cases.append(Case(constant, factor, found))
    return Robustness(error, nominal, tuple(cases))


def moved(configuration: Configuration, constant: str, factor: float) -> Configuration:
    """The configuration on a cluster whose latency constant is times `factor`."""
    cluster = configuration.cluster
    return replace(configuration, cluster=replace(cluster, moved=(*cluster.moved, (constant, factor))))


def differences(comparison: Comparison) -> dict[str, Difference]:
    """The differences to the baseline by the comparison's metric, over all classes."""
    return {name: comparison.difference(name) for name in comparison.differences}
