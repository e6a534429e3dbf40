"""The experiments by name, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slackwise.errors import unknown
from slackwise.tuning.reproduce.ablation import ablation
from slackwise.tuning.reproduce.finding import Finding
from slackwise.tuning.reproduce.search import search
from slackwise.tuning.reproduce.services import Tuned
from slackwise.tuning.reproduce.setting import Progress, Setting

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
}


def chosen(names: Sequence[str]) -> list[str]:
    """The experiments asked for in the order of the catalogue, all for none. Raises InputError for an unknown name."""
    for name in names:
        if name not in EXPERIMENTS:
            raise unknown("experiment", name, EXPERIMENTS)
    return [name for name in EXPERIMENTS if not names or name in names]
