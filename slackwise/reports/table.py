"""The table that a study prints on a terminal, and the lines that it must be read with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from slackwise.reports import words
from slackwise.tuning.search_study import TUNED

COLUMNS = {
    "": "left",
    "SLO\nattainment": "right",
    "over vllm,\npoints [95 %]": "right",
    "TTFT\nP50 s": "right",
    "TTFT\nP99 s": "right",
    "TBT\nP99 ms": "right",
    "good\nreq/s": "right",
    "GPU-\nhours": "right",
    "instances\nbusy": "left",
}


def table(document: Mapping[str, Any]) -> Table:
    """One row a configuration, one section a model."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in COLUMNS.items():
        drawn.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for card in document["cards"]:
        drawn.add_row(card["model"], style="bold")
        for row in card["rows"]:
            drawn.add_row(*cells(row), style="green" if row["name"] == TUNED and card["wins"] else None)
        drawn.add_row()
    return drawn


def cells(row: Mapping[str, Any]) -> list[str]:
    """The texts of a row, one for each of COLUMNS."""
    return [
        f"  {row['name']}{' *' if row['hypothetical'] else ''}",
        words.percent(row["attainment"]),
        words.difference(row),
        words.seconds(row["ttft_p50_s"]),
        words.seconds(row["ttft_p99_s"]),
        words.milliseconds(row["tbt_p99_s"]),
        f"{row['goodput_rps']:.2f}",
        f"{row['gpu_hours']:.1f}",
        words.utilisation(row),
    ]


def lines(document: Mapping[str, Any]) -> list[str]:
    """What the table must be read with: traffic, objectives, verdicts, notes."""
    plan = document["plan"]
    found = [f"{plan['gpus']} x {plan['gpu']}; objective: {document['objective']}"]
    for card in document["cards"]:
        part, tuned = card["reported"], card["rows"][-1]
        found += [
            f"{card['model']}: {card['verdict']}",
            f"  objectives {card['objectives_line']}",
            f"  reported {words.traffic(part)}, {card['factor']:.2f} times the week's rate",
            f"  tuned is {tuned['cluster']}, with {', '.join(tuned['settings'])}",
            f"  what counts: {_parts(card)}",
        ]
    part = document["cards"][0]["reported"]
    found.append(f"traffic: {part['source']}, image_count {part['image_count']}, seed {document['seed']}")
    notes = {row["hypothetical"] for row in document["rows"] if row["hypothetical"]}
    return found + [f"* {each}" for each in sorted(notes)]


def _parts(card: Mapping[str, Any]) -> str:
    """What putting each part of the winner back to its default costs, the dearest first."""
    parts = sorted(card["without"], key=lambda each: each["difference"])
    return "; ".join(f"{each['put_back']} {words.difference(each)}" for each in parts) or "tuned is today's service"
