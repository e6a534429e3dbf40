"""Run the experiments of a reproduction, each kept in a file: what is there and still good is not run again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slackwise.errors import InputError
from slackwise.files import check_folder, read_json, write_text
from slackwise.policies.winner import versions
from slackwise.reports.processes import Report, run_all
from slackwise.tuning.reproduce.catalogue import EXPERIMENTS, SEARCH, chosen
from slackwise.tuning.reproduce.search import tuned_of
from slackwise.tuning.reproduce.setting import Setting

SCHEMA = "slackwise-reproduction/1"

Argument = tuple[str, Setting, Path, str]
"""An experiment, its setting, the folder, and the hash of its inputs as they were when the run began."""


def reproduce(
    folder: Path, setting: Setting, names: Sequence[str], processes: int, report: Callable[[Sequence[str]], Any]
) -> dict[str, dict[str, Any]]:
    """Run the experiments called `names` (none: all) and those that they need; their documents by name.

    `report` gives, for names, a context manager whose value is told their progress. Raises InputError for an unknown
    name or a folder that does not exist.
    """
    wanted = chosen(names)
    check_folder(folder)
    stages = [[SEARCH], [name for name in wanted if name != SEARCH]]
    for stage in stages:
        due = [name for name in stage if kept(folder, setting, name) is None]
        if due:
            with report(due) as tell:
                _run(folder, setting, due, processes, tell)
    found = {name: kept(folder, setting, name) for name in wanted}
    return {name: each for name, each in found.items() if each is not None}


def kept(folder: Path, setting: Setting, name: str) -> dict[str, Any] | None:
    """The document of an experiment, if it is there and was made with these inputs; None if it has to be run."""
    path = path_of(folder, name)
    if not path.exists():
        return None
    document = read_json(path)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError(f"{path} is no result of a reproduction: move it away")
    found: dict[str, Any] = document
    return found if found.get("digest") == _digest(folder, setting, name) else None


def path_of(folder: Path, name: str) -> Path:
    """Where an experiment's document is kept."""
    return folder / f"{name}.json"


def _run(folder: Path, setting: Setting, names: Sequence[str], processes: int, report: Report) -> None:
    run_all(_work, [(name, setting, folder, _digest(folder, setting, name)) for name in names], processes, report)


def _work(argument: Argument, progress: Callable[[str, float], None]) -> None:
    """One experiment, in whichever process, written when it is done."""
    name, setting, folder, digest = argument
    experiment, begun_s = EXPERIMENTS[name], (time.process_time(), time.perf_counter())
    tuned = {} if name == SEARCH else tuned_of(read_json(path_of(folder, SEARCH))["finding"]["data"])
    finding = experiment.run(setting, tuned, progress)
    document = {
        "schema": SCHEMA,
        "name": name,
        "title": experiment.title,
        "section": experiment.section,
        "digest": digest,
        "setting": asdict(setting),
        "versions": versions(),
        "cpu_s": round(time.process_time() - begun_s[0], 1),
        "wall_s": round(time.perf_counter() - begun_s[1], 1),
        "finding": finding.to_json(),
    }
    write_text(path_of(folder, name), json.dumps(document, indent=1, allow_nan=False) + "\n")
    progress("done", 1.0)


def _digest(folder: Path, setting: Setting, name: str) -> str:
    """The hash of the inputs of an experiment; what was tuned is one of all but the search."""
    module = EXPERIMENTS[name].run.__module__.rpartition(".")[2]
    if name == SEARCH:
        return setting.digest(module)
    services = read_json(path_of(folder, SEARCH))["finding"]["data"] if path_of(folder, SEARCH).exists() else {}
    return setting.digest(module, json.dumps(services, sort_keys=True))
