"""A card: one question of the report, with its sentences, tables and figure; the data beneath it as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; the first column is read from the left."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Card:
    """What one part of the report says."""

    name: str  # for the JSON document
    title: str
    lines: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    figure: str | None = None  # a key of figures.FIGURES
    alt: str = ""  # what the figure shows, in words

    def to_json(self) -> dict[str, Any]:
        """For report.json."""
        return {
            "name": self.name,
            "title": self.title,
            "lines": list(self.lines),
            "tables": [
                {"columns": list(each.columns), "rows": [list(row) for row in each.rows]} for each in self.tables
            ],
            "figure": self.figure,
            "alt": self.alt,
            "data": dict(self.data),
        }


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of any sequences."""
    return Table(tuple(columns), tuple(tuple(row) for row in rows))


def hours(gpu_s: float) -> str:
    """GPU-seconds as GPU-hours, to a tenth; below 100, to a hundredth."""
    value = gpu_s / 3600
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.2f}"


def change(value: float, base: float) -> str:
    """A change against `base`, in per cent: "+4.2 %"."""
    return f"{100 * (value / base - 1):+.1f} %" if base else "-"
