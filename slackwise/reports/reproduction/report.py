"""The report of a reproduction: the goals first, then each experiment with its rows beside the paper's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slackwise.files import write_text
from slackwise.reports.reproduction.figures import FIGURES
from slackwise.reports.solver.cards import Card, Table, table
from slackwise.reports.solver.pages import html, markdown
from slackwise.tuning.reproduce.finding import CHECK, MISSED, NOT_TOLD, REACHED, SHOWN
from slackwise.tuning.reproduce.setting import Setting

SCHEMA = "slackwise-reproduction-report/1"
MOST_ROWS = 24
"""Of the rows that are not the main ones; if there are more, the page leaves them out."""

MARKS = {CHECK: "", SHOWN: "not a target", "ours": ""}


def report(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that the pages show, for JSON."""
    cards = [_goals(documents)]
    for name, each in documents.items():
        cards += _experiment(name, each)
    cards.append(_again(documents))
    return {
        "schema": SCHEMA,
        "title": "ModServe (SoCC 2025), reproduced",
        "cards": [each.to_json() for each in cards],
    }


def write_report(folder: Path, document: Mapping[str, Any]) -> list[Path]:
    """Write report.json, report.md and, if its extra is installed, report.html into `folder`, each whole."""
    texts = {"report.json": json.dumps(document, indent=1, allow_nan=False) + "\n", "report.md": markdown(document)}
    if all(find_spec(module) for module in ("jinja2", "matplotlib")):
        texts["report.html"] = html(document, FIGURES)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def lines(document: Mapping[str, Any]) -> list[str]:
    """For a terminal: the goals and the main rows."""
    found = []
    for card in document["cards"]:
        found += [card["title"], *(f"  {line}" for line in card["lines"])]
        for each in card["tables"][:1]:
            found += [f"  {' | '.join(row)}" for row in [each["columns"], *each["rows"]]]
    return found


def _goals(documents: Mapping[str, Mapping[str, Any]]) -> Card:
    goals = [(name, goal) for name, each in documents.items() for goal in each["finding"]["goals"]]
    counts = {verdict: sum(goal["verdict"] == verdict for _, goal in goals) for verdict in (REACHED, MISSED, NOT_TOLD)}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    rows = [(goal["what"], goal["verdict"], name, goal["by"]) for name, goal in goals]
    lines_ = (f"{len(goals)} goals, fixed before the run: {told}. Not told: the interval covers zero.",)
    return Card("goals", "Goals", lines_, (table(("goal", "verdict", "experiment", "numbers"), rows),), counts)


def _experiment(name: str, document: Mapping[str, Any]) -> list[Card]:
    finding = document["finding"]
    main = [row for row in finding["rows"] if row["main"]]
    rest = [row for row in finding["rows"] if not row["main"]]
    section = "" if document["section"] == "none" else f" (section {document['section']})"
    shown, more = (rest, ()) if len(rest) <= MOST_ROWS else ([], (f"{len(rest)} more numbers are in {name}.json.",))
    told = (f"Why it differs: {finding['why']}", *finding["notes"], *more)
    tables = tuple(_table(rows) for rows in (main, shown) if rows)
    found = [Card(name, f"{document['title']}{section}", told, tables, {})]
    for figure, data in finding["data"].items():
        if figure in FIGURES:
            found += [Card(f"{name}-{figure}", FIGURES[figure].title, (), (), data, figure, FIGURES[figure].alt)]
    return found


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    heads = ("number", "case", "ours [95 %]", "paper", "ours / paper", "")
    return table(heads, [cells(row) for row in rows])


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of a finding for people: number, case, ours, the paper's, their ratio, a note."""
    unit = "" if row["unit"] == "-" else f" {row['unit']}"
    paper = "" if row["paper"] is None else f"{row['paper']:g}{unit}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    value = "none" if row["value"] is None else f"{_value(row)}{unit}"
    return row["what"], row["case"], value, paper, ratio, MARKS[row["use"]]


def _value(row: Mapping[str, Any]) -> str:
    text = short(row["value"])
    if row["low"] is None or row["high"] is None:
        return text
    return f"{text} [{short(row['low'])}, {short(row['high'])}]"


def short(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _again(documents: Mapping[str, Mapping[str, Any]]) -> Card:
    first = next(iter(documents.values()))
    setting = {**asdict(Setting()), **first["setting"]}  # what is not said is the default
    command = (
        f"slackwise reproduce modserve --gpus {setting['gpus']} --minutes {setting['minutes']:g} "
        f"--trials {setting['trials']} --slo-factor {setting['slo_factor']:g} "
        f"--engine {setting['engine']} --seed {setting['seed']}"
    )
    rows = [(name, f"{each['cpu_s']:.0f}", f"{each['wall_s']:.0f}") for name, each in documents.items()]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    return Card(
        "again",
        "How to get it again",
        (command, f"Versions: {versions}"),
        (table(("experiment", "CPU seconds", "seconds"), rows),),
    )
