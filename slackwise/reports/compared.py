"""Reports of a comparison and of a search for capacity, from the JSON that the commands write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slackwise.reports import words
from slackwise.reports.solver.cards import Card, Table, table

COMPARISON, CAPACITY = "slackwise-comparison-report/1", "slackwise-capacity-report/1"


def comparison_report(document: Mapping[str, Any]) -> dict[str, Any]:
    """The report of what `slackwise compare --out` wrote: who is better than the baseline, and by class."""
    runs = {each["name"]: each for each in document["configurations"]}
    order, metric, base = document["ranking"], document["metric"], document["baseline"]
    rows = [(name, *_cells(runs[name], metric)) for name in order]
    heads = ("service", "SLO met", f"{metric} over {base} [95 %]", "", "TTFT P99, s", "TBT P99, ms", "GPU-hours")
    lines = (f"Best by {metric}: {order[0]}.", _traffic(document["trace"]), document["bootstrap"]["note"])
    data = {"metric": metric, "baseline": base, "rows": [_change(runs[name], metric) for name in order]}
    alt = f"Change of {metric} against {base}, with its 95 % interval."
    cards = [
        Card("verdict", "Verdict", lines[:1]),
        Card("compared", f"Against {base}", lines[1:], (table(heads, rows),), data, "changes", alt),
        Card("classes", "By class", (), (_classes(document),)),
    ]
    return _document(COMPARISON, f"Comparison of {len(runs)} services", cards)


def capacity_report(document: Mapping[str, Any]) -> dict[str, Any]:
    """The report of what `slackwise capacity --out` wrote: the highest rate of each service, and every rate tried."""
    runs = document["configurations"]
    best = max(runs, key=lambda each: float(each["requests_per_s"]))
    heads = ("service", "highest rate, requests/s", "a GPU", "SLO met there", "first rate that fails", "cluster")
    rows = [_capacity_cells(each) for each in runs]
    points = {
        each["name"]: sorted([p["requests_per_s"], 100 * p["attainment"]] for p in each["probes"]) for each in runs
    }
    data = {"target": 100 * runs[0]["target"], "points": points}
    first = f"Highest rate with {100 * runs[0]['target']:g} % within the objectives: {best['name']}, "
    cards = [
        Card("verdict", "Verdict", (f"{first}{best['requests_per_s']:.3g} requests/s.",)),
        Card(
            "capacity",
            "Highest rates",
            (_traffic(document["trace"]),),
            (table(heads, rows),),
            data,
            "rates",
            "Share of requests within their objectives at every rate that was tried.",
        ),
    ]
    return _document(CAPACITY, f"Capacity of {len(runs)} services", cards)


def _document(schema: str, title: str, cards: list[Card]) -> dict[str, Any]:
    return {"schema": schema, "title": title, "cards": [each.to_json() for each in cards]}


def _traffic(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['requests']:,} requests in {facts['span_s']:,.0f} s, {words.percent(facts['image_share'])} with "
        f"images ({facts['source']}, image_count {facts['image_count']})."
    )


def _cells(run: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    every, found = run["classes"]["all"], _change(run, metric)
    return (
        words.percent(every["attainment"]),
        _interval(found),
        found["verdict"],
        words.seconds(every["ttft_s"]["p99"]),
        words.milliseconds(every["tbt_s"]["p99"]),
        f"{run['gpu_hours']:.1f}",
    )


def _change(run: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Difference to the baseline over all classes; zero of the baseline itself."""
    if run["differences"] is None:
        return {"name": run["name"], "difference": 0.0, "interval": None, "verdict": "baseline"}
    found = run["differences"]["all"][metric]
    return {"name": run["name"], **{key: found[key] for key in ("difference", "interval", "verdict")}}


def _interval(found: Mapping[str, Any]) -> str:
    if found["verdict"] == "baseline" or found["difference"] is None:
        return words.NONE
    text = f"{found['difference']:+.3g}"
    return text if found["interval"] is None else f"{text} [{found['interval'][0]:+.3g}, {found['interval'][1]:+.3g}]"


def _classes(document: Mapping[str, Any]) -> Table:
    rows = []
    for run in document["configurations"]:
        for kind, each in run["classes"].items():
            ttft = each["ttft_s"]
            cells = (words.percent(each["attainment"]), words.seconds(ttft["p50"]), words.seconds(ttft["p99"]))
            rows.append((f"{run['name']}: {kind}", f"{each['requests']:,}", *cells))
    return table(("service: class", "requests", "SLO met", "TTFT P50, s", "TTFT P99, s"), rows)


def _capacity_cells(run: Mapping[str, Any]) -> tuple[str, ...]:
    passing, failing = run["passing"], run["failing"]
    return (
        run["name"],
        f"{run['requests_per_s']:.3g}" if passing else "none",
        f"{run['requests_per_s_per_gpu']:.3g}",
        words.percent(passing["attainment"]) if passing else words.NONE,
        f"{failing['requests_per_s']:.3g}" if failing else words.NONE,
        run["cluster"],
    )
