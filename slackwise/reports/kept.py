"""The report of a run that is kept: a folder of `tune` or `reproduce`, or the JSON file of `compare` or `capacity`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slackwise.errors import InputError
from slackwise.files import read_json
from slackwise.reports import tuned
from slackwise.reports.compared import capacity_report, comparison_report
from slackwise.reports.compared_figures import FIGURES as COMPARED
from slackwise.reports.reproduction.figures import FIGURES as REPRODUCED
from slackwise.reports.reproduction.report import report as reproduction
from slackwise.reports.reproduction.run import SCHEMA
from slackwise.reports.tuned_figures import FIGURES as TUNED
from slackwise.tuning.reproduce.catalogue import EXPERIMENTS

Draw = Callable[[Mapping[str, Any]], str]
Found = tuple[dict[str, Any], Mapping[str, Draw]]
"""report.json, and what draws its figures."""


def is_kept(source: str) -> bool:
    """Whether a source is a run that is kept, not a trace."""
    return Path(source).is_dir() or source.endswith(".json")


def kept_report(source: str) -> Found:
    """The report of what is kept at `source`. Raises InputError if it is none of a known kind, or unreadable."""
    path = Path(source)
    return _folder(path) if path.is_dir() else _file(path)


def _folder(folder: Path) -> Found:
    experiments = {name: folder / f"{name}.json" for name in EXPERIMENTS if (folder / f"{name}.json").exists()}
    documents = {name: read_json(path) for name, path in experiments.items()}
    documents = {name: each for name, each in documents.items() if _schema(each) == SCHEMA}
    if documents:
        return reproduction(documents), REPRODUCED
    path = folder / "report.json"
    if path.exists() and _schema(document := read_json(path)) == tuned.SCHEMA:
        return document, TUNED
    raise InputError(f"{folder} holds no run of slackwise tune or slackwise reproduce")


def _file(path: Path) -> Found:
    document = read_json(path)
    try:
        if isinstance(document, dict) and "ranking" in document:
            return comparison_report(document), COMPARED
        if isinstance(document, dict) and "probes" in document["configurations"][0]:
            return capacity_report(document), COMPARED
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path} is not whole: {error!r}") from None
    raise InputError(f"{path} is no result of slackwise compare or slackwise capacity")


def _schema(document: Any) -> Any:
    return document.get("schema") if isinstance(document, dict) else None
