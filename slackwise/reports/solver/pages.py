"""report.json as Markdown, and as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from slackwise.optional import require
from slackwise.reports.solver.figures import FIGURES

TEMPLATE = "solver.html"

Draw = Callable[[Mapping[str, Any]], str]


def markdown(document: Mapping[str, Any]) -> str:
    """The report as Markdown, figures left out."""
    parts = [f"# {document['title']}"]
    for card in document["cards"]:
        parts.append(f"## {card['title']}")
        parts += card["lines"]
        parts += [_markdown_table(each) for each in card["tables"] if each["rows"]]
    return "\n\n".join(parts) + "\n"


def html(document: Mapping[str, Any], figures: Mapping[str, Draw] = FIGURES) -> str:
    """The report as HTML, its figures drawn by name. Raises InputError if jinja2 or matplotlib is missing."""
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))
    drawn = {
        card["figure"]: jinja2.utils.markupsafe.Markup(figures[card["figure"]](card["data"]))
        for card in document["cards"]
        if card["figure"]
    }
    found: str = template.render(document=document, figures=drawn)
    return found


def _markdown_table(table: Mapping[str, Any]) -> str:
    columns = table["columns"]
    rules = ["---", *["---:"] * (len(columns) - 1)]
    rows = [columns, rules, *table["rows"]]
    return "\n".join("| " + " | ".join(str(each).replace("|", "/") for each in row) + " |" for row in rows)
