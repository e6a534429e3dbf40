"""The page: report.json as one HTML file that needs nothing else, no network either."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from slackwise.optional import require
from slackwise.reports import words
from slackwise.reports.plots import COLORS, history_figure, time_figure, ttft_figure
from slackwise.tuning.search_study import TUNED

TEMPLATE = "template.html"
BEST_TRIALS = 5


def page(document: Mapping[str, Any]) -> str:
    """The HTML of a report. Raises InputError if jinja2 or matplotlib is missing."""
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))
    html: str = template.render(
        document=document,
        plan=document["plan"],
        cards=[_shown(card, jinja2) for card in document["cards"]],
        notes=sorted({row["hypothetical"] for row in document["rows"] if row["hypothetical"]}),
        words=words,
        colors=COLORS,
        tuned=TUNED,
    )
    return html


def _shown(card: Mapping[str, Any], jinja2: Any) -> dict[str, Any]:
    """A card with its figures and the trials worth showing."""
    figures = {"ttft": ttft_figure(card), "over_time": time_figure(card), "history": history_figure(card)}
    finished = [trial for trial in card["history"] if not trial["stopped"]]
    best = sorted(finished, key=lambda trial: (-trial["attainment"], trial["number"]))[:BEST_TRIALS]
    return {
        **card,
        "figures": {name: jinja2.utils.markupsafe.Markup(svg) for name, svg in figures.items()},
        "best_trials": best if finished[0] in best else [*best, finished[0]],
        "classes": list(card["rows"][0]["classes"]),
    }
