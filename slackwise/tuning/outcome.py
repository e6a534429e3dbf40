"""What a configuration did with the windows: its runs, joined to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slackwise.simulator import Configuration, Objectives, Result, simulate, summary
from slackwise.simulator.verdict import joined_verdict
from slackwise.traces import Trace

ObjectivesOf = Objectives | Callable[[Configuration], Objectives]
"""Objectives for all configurations, or a function that gives them for each (of one model: the same)."""


@dataclass(frozen=True)
class Outcome:
    """A configuration, its objectives, its result in each window."""

    configuration: Configuration
    objectives: Objectives
    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        """The configuration's name."""
        return self.configuration.name

    @property
    def result(self) -> Result:
        """All windows as one run; arrivals stay on the clock of their window."""
        return joined(self.results)

    def to_json(self) -> dict[str, Any]:
        """Cluster, policies, objectives and the metrics of `simulator.summary` over all windows."""
        return {
            "name": self.name,
            "cluster": self.configuration.cluster.describe(),
            "policies": self.configuration.policies.to_dict(),
            "objectives": self.objectives.to_json(),
            **summary(self.result),
        }


def run_windows(
    windows: Sequence[Trace],
    configuration: Configuration,
    objectives: ObjectivesOf,
    seed: int = 0,
    image_context: str = "subtract",
) -> Outcome:
    """Serve each window from an empty cluster. Raises InputError as `simulate` does."""
    judged = objectives(configuration) if callable(objectives) else objectives
    results = tuple(simulate(window, configuration, judged, seed, image_context) for window in windows)
    return Outcome(configuration, judged, results)


def joined(results: Sequence[Result]) -> Result:
    """Results of one configuration as one: requests in turn, seconds and counts summed, shares weighted by time."""
    if len(results) == 1:
        return results[0]
    columns = (
        "arrival_s", "category", "output_tokens", "ttft_s", "tbt_s", "end_to_end_s", "ttft_objective_s", "met",
        "failure", "preprocess_s", "preprocess_wait_s",
    )  # fmt: skip
    sums = (
        "preemptions",
        "span_s",
        "gpu_s",
        "events",
        "steps",
        "parked",
        "warm_up_s",
        "warm_up_requests",
        "jobs_reused",
        "prefixes_reused",
    )
    return Result(
        **{name: np.concatenate([getattr(each, name) for each in results]) for name in columns},
        **{name: sum(getattr(each, name) for each in results) for name in sums},
        verdict=joined_verdict([each.verdict for each in results]),
        tbt_tokens=np.sum([each.tbt_tokens for each in results], axis=0),
        busy=_weighted([each.busy for each in results], results),
        encode_busy=_weighted([each.encode_busy for each in results], results),
        prefill_busy=_weighted([each.prefill_busy for each in results], results),
        stages={name: np.concatenate([each.stages[name] for each in results]) for name in results[0].stages},
    )


def _weighted(shares: Sequence[dict[str, float]], results: Sequence[Result]) -> dict[str, float]:
    spans = [each.span_s for each in results]
    return {
        kind: sum(share[kind] * span for share, span in zip(shares, spans, strict=True)) / sum(spans)
        for kind in shares[0]
    }
