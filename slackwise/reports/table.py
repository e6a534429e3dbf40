"""The table that a study prints on a terminal, and the lines that it must be read with."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from rich.markup import escape
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
        drawn.add_column(escape(name), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for card in document["cards"]:
        drawn.add_row(card["model"], style="bold")
        for row in card["rows"]:
            drawn.add_row(*map(escape, cells(row)), style="green" if row["name"] == TUNED and card["wins"] else None)
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


def lines(document: Mapping[str, Any], width: int = 120) -> list[str]:
    """What the table must be read with: verdicts, traffic, objectives, what was tuned, notes."""
    plan = document["plan"]
    found = textwrap.wrap(f"{plan['gpus']} x {plan['gpu']}; {document['objective']}", width)
    for card in document["cards"]:
        found += ["", *textwrap.wrap(f"{card['model']}: {card['verdict']}", width)]
        for label, text in _about(card).items():
            found += textwrap.wrap(text, width, initial_indent=f"  {label:<12}", subsequent_indent=" " * 14)
    part = document["cards"][0]["reported"]
    traffic = f"Traffic: {part['source']}; image_count {part['image_count']}, seed {document['seed']}"
    notes = sorted({f"* {row['hypothetical']}" for row in document["rows"] if row["hypothetical"]})
    ends = [piece for each in (traffic, *notes) for piece in textwrap.wrap(each, width, subsequent_indent="  ")]
    return [*found, "", *ends]


def _about(card: Mapping[str, Any]) -> dict[str, str]:
    tuned, part = card["rows"][-1], card["reported"]
    return {
        "load": f"{words.traffic(part)}, {card['factor']:.2f} times the week's rate",
        "objectives": card["objectives_line"],
        "tuned": f"{tuned['cluster'].partition(': ')[2]}; {', '.join(tuned['settings'])}",
        "what counts": _parts(card),
    }


def _parts(card: Mapping[str, Any]) -> str:
    """What putting each part of the winner back to its default costs, the dearest first."""
    parts = sorted(card["without"], key=lambda each: float(each["difference"]))
    text = "; ".join(f"{each['put_back']} {words.difference(each)}" for each in parts)
    return f"points when put back: {text}" if parts else "nothing: tuned is today's service"
