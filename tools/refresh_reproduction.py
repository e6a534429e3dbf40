"""Put tables and reasons of benchmarks/modserve/results into docs/reproduction.md, each under its heading.

Beside them stands what came out with the host's work of vLLM 0.7.2, from benchmarks/modserve/host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from slackwise.files import write_text
from slackwise.reports.reproduction.report import cells
from slackwise.tuning.reproduce.catalogue import EXPERIMENTS, SEARCH

ROOT = Path(__file__).parents[1]
PAGE, KEPT = ROOT / "docs" / "reproduction.md", ROOT / "benchmarks" / "modserve"
RESULTS, HOST = "results", "host"
"""Folders: the paper's services by the scheduling of their engine alone, and with its host's work."""

Rows = Sequence[Sequence[str]]


def experiments(folder: str = RESULTS) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each experiment's name and finding."""
    for name in EXPERIMENTS:
        yield name, json.loads((KEPT / folder / f"{name}.json").read_text(encoding="utf-8"))["finding"]


def beside() -> Rows:
    """The main numbers that the paper has too; those of the other engine where the case has the same name."""
    other = {(name, row["what"], row["case"]): cells(row)[2] for name, row in main_rows(HOST)}
    rows = []
    for name, row in main_rows():
        if row["paper"] is not None:
            what, case, ours, *rest = cells(row)
            rows.append((name, what, case, ours, other.get((name, row["what"], row["case"]), ""), *rest))
    return rows


def goals() -> Rows:
    """Every goal."""
    other = {goal["what"]: goal for _, each in experiments(HOST) for goal in each["goals"]}
    found = [goal for _, each in experiments() for goal in each["goals"]]
    return [
        (one["what"], one["verdict"], one["by"], other[one["what"]]["verdict"], other[one["what"]]["by"])
        for one in found
    ]


def own() -> Rows:
    """The main numbers that the paper does not have."""
    return [(name, *cells(row)[:3]) for name, row in main_rows() if row["paper"] is None]


def main_rows(folder: str = RESULTS) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each experiment's name with each of its main rows."""
    for name, each in experiments(folder):
        yield from ((name, row) for row in each["rows"] if row["main"])


TABLES = {
    "Beside the paper": (
        ("experiment", "number", "case", "ours [95 %]", "with the host's work", "paper", "ours / paper", "note"),
        beside,
    ),
    "Goals": (("goal", "verdict", "numbers", "with the host's work", "numbers"), goals),
    "What the paper does not have": (("experiment", "number", "case", "ours [95 %]"), own),
}


def markdown(heads: Sequence[str], rows: Rows) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(each)} |\n" for each in lines)


def reasons() -> str:
    """Why ours differ from the paper's, an item an experiment; searches have nothing to differ from."""
    return "".join(f"- **{name}**: {each['why']}\n" for name, each in experiments() if name != SEARCH)


def main() -> None:
    """Replace the table under each heading, and the list of reasons."""
    text = PAGE.read_text(encoding="utf-8")
    for heading, (heads, rows) in TABLES.items():
        pattern = re.compile(rf"(### {heading}\n\n(?:[^|\n].*\n|\n)*)(?:\|.*\n)+")
        table = markdown(heads, rows())
        text, count = pattern.subn(lambda found, made=table: found[1] + made, text)
        if count != 1:
            raise SystemExit(f"{PAGE.name} has no table under '{heading}'")
    text, count = re.subn(
        r"(Why they differ, one sentence each:\n\n)(?:- .*\n)+", lambda found: found[1] + reasons(), text
    )
    if count != 1:
        raise SystemExit(f"{PAGE.name} has no list of reasons")
    write_text(PAGE, text)


if __name__ == "__main__":
    main()
