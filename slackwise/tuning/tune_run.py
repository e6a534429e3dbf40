"""The folder of a tuning run: what was asked for, the study as it grows, what was found, the winner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slackwise.errors import InputError
from slackwise.files import write_text
from slackwise.policies.winner import versions, write_winner
from slackwise.traces import Trace
from slackwise.traces.trace import facts
from slackwise.tuning.journal import Journal
from slackwise.tuning.space import Space
from slackwise.tuning.trials import Task
from slackwise.tuning.tune import Tuned, winner
from slackwise.tuning.tune_search import Entry, History, directions

JOURNAL, CONFIG, TRIALS, COMPARISON, WINNER = (
    "study.journal", "config.json", "trials.json", "comparison.json", "winner.json",
)  # fmt: skip
"""Files of the folder."""


def settings(task: Task, space: Space, kept: Trace, sampler: str) -> dict[str, Any]:
    """All that a study's trials hang on."""
    cluster, start = space.start.cluster, space.start
    return {
        "trace": facts(task.trace),
        "kept_back": facts(kept),
        "model": cluster.model,
        "gpu": cluster.gpu,
        "start": {"name": start.name, "cluster": cluster.describe(), "policies": start.policies.to_dict()},
        "slo": task.objectives.to_json(),
        "objective": [each.name for each in task.goals],
        "constraints": [each.name for each in task.bounds],
        "space": space.describe(),
        "sampler": sampler,
        "seed": task.seed,
        "image_context": task.image_context,
        "prune": task.prune,
    }


def open_journal(folder: Path, task: Task, made: dict[str, Any], resume: bool) -> Journal:
    """The study of `folder`, which is made if it does not exist. Raises InputError as Journal does."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}") from None
    return Journal(folder / JOURNAL, made, directions(task.goals), resume)


def write_config(folder: Path, made: dict[str, Any], command: str) -> None:
    """Write what was asked for."""
    _write(folder / CONFIG, {"command": command, "versions": versions(), "settings": made})


@contextmanager
def trials_kept(folder: Path, space: Space, history: list[History]) -> Iterator[None]:
    """However the block ends, trials.json holds the last of `history`."""
    try:
        yield
    finally:
        if history:
            _write(folder / TRIALS, [trial_row(space, history[-1], each) for each in history[-1].entries])


def trial_row(space: Space, history: History, entry: Entry) -> dict[str, Any]:
    """A trial for JSON."""
    names = [each.name for each in history.goals]
    measured = entry.measured
    return {
        "number": entry.number,
        "objective": dict(zip(names, measured.values, strict=True)) if measured.values else None,
        "violations": list(measured.violations),
        "stopped": measured.stopped,
        "failure": measured.failure,
        "requests": measured.requests,
        "settings": dict(entry.values) if measured.failure else space.settings(entry.values),
    }


def write_found(folder: Path, found: Tuned, kept: Trace, provenance: dict[str, Any]) -> list[Path]:
    """Write the comparison and the winner."""
    front = [trial_row(found.space, found.history, each) for each in found.history.front]
    _write(folder / COMPARISON, found.comparison.to_json() | {"verdict": found.verdict, "front": front})
    write_winner(folder / WINNER, winner(found, kept, provenance))
    return [folder / name for name in (CONFIG, JOURNAL, TRIALS, COMPARISON, WINNER)]


def _write(path: Path, document: Any) -> None:
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
