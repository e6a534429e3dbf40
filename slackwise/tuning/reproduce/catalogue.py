"""The experiments by name, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slackwise.errors import unknown
from slackwise.tuning.reproduce.ablation import ablation
from slackwise.tuning.reproduce.autoscale import autoscale
from slackwise.tuning.reproduce.block import block
from slackwise.tuning.reproduce.disaggregated import disaggregated
from slackwise.tuning.reproduce.finding import Finding
from slackwise.tuning.reproduce.front import front
from slackwise.tuning.reproduce.pools import pools
from slackwise.tuning.reproduce.search import search
from slackwise.tuning.reproduce.services import Tuned
from slackwise.tuning.reproduce.setting import Progress, Setting
from slackwise.tuning.reproduce.slo import slo
from slackwise.tuning.reproduce.stages import stages
from slackwise.tuning.reproduce.table import table
from slackwise.tuning.reproduce.throughput import throughput
from slackwise.tuning.reproduce.transfer import transfer
from slackwise.tuning.reproduce.week import week

SEARCH = "search"
"""The experiment that the others get their tuned services from."""


@dataclass(frozen=True)
class Experiment:
    """One experiment."""

    title: str
    section: str  # of the paper
    run: Callable[[Setting, Tuned, Progress], Finding]


EXPERIMENTS: Mapping[str, Experiment] = {
    SEARCH: Experiment("What a search finds from ModServe's rules", "none", search),
    "ablation": Experiment("Ablation on a static fleet", "5.2", ablation),
    "stages": Experiment("Stages, batches, tensor parallelism", "3", stages),
    "throughput": Experiment("Highest rate within the objectives", "5.2", throughput),
    "slo": Experiment("Highest rate by objectives", "5.3", slo),
    "pools": Experiment("Encoders a text instance", "5.3", pools),
    "transfer": Experiment("RDMA and TCP", "5.3", transfer),
    "disaggregated": Experiment("On top of prefill/decode disaggregation", "5.3", disaggregated),
    "autoscale": Experiment("A day with an image burst", "5.2", autoscale),
    "week": Experiment("The week, autoscaled", "none", week),
    "front": Experiment("GPUs against attainment", "none", front),
    "block": Experiment("One head-of-line block", "none", block),
    "table": Experiment("What the paper does not have", "none", table),
}


def chosen(names: Sequence[str]) -> list[str]:
    """The experiments asked for in the order of the catalogue, all for none. Raises InputError for an unknown name."""
    for name in names:
        if name not in EXPERIMENTS:
            raise unknown("experiment", name, EXPERIMENTS)
    return [name for name in EXPERIMENTS if not names or name in names]
