"""A Grafana dashboard over the metrics of telemetry.py, as Ray's nodes export them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT, COLUMNS = 12, 8, 2
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """A graph: its title, its unit as Grafana names it, and (query, legend) of its lines."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def quantile(q: float, metric: str, by: str) -> str:
    """PromQL of a quantile of a histogram, by a label."""
    return f"histogram_quantile({q:g}, sum by (le, {by}) (rate(ray_{metric}_bucket{RATE})))"


PANELS = (
    Panel(
        "Attainment of the objectives",
        "percentunit",
        (
            (
                f"sum by (objective) (rate(ray_slackwise_met_total{RATE})) / "
                f"sum by (objective) (rate(ray_slackwise_judged_total{RATE}))",
                "{{objective}}",
            ),
            ("min by (objective) (ray_slackwise_attainment)", "{{objective}} at the last decision"),
        ),
    ),
    Panel("Requests", "reqps", ((f"sum by (outcome) (rate(ray_slackwise_requests_total{RATE}))", "{{outcome}}"),)),
    Panel(
        "Time to first token",
        "s",
        tuple((quantile(q, "slackwise_ttft_seconds", "class"), f"{{{{class}}}} P{100 * q:g}") for q in (0.5, 0.99)),
    ),
    Panel(
        "Mean time between tokens",
        "s",
        tuple((quantile(q, "slackwise_tbt_seconds", "class"), f"{{{{class}}}} P{100 * q:g}") for q in (0.5, 0.99)),
    ),
    Panel(
        "Instances: there, wanted, allowed now",
        "none",
        (
            ("sum by (pool, state) (ray_slackwise_pool_instances)", "{{pool}} {{state}}"),
            ("max by (pool) (ray_slackwise_pool_wanted)", "{{pool}} wanted"),
            ("max by (pool) (ray_slackwise_pool_target)", "{{pool}} target"),
        ),
    ),
    Panel(
        "Queues",
        "none",
        (
            ("max by (pool) (ray_slackwise_pool_waiting)", "{{pool}} waiting"),
            ("max by (pool) (ray_slackwise_pool_running)", "{{pool}} running"),
            ("sum(ray_slackwise_in_flight)", "in flight"),
        ),
    ),
    Panel("Predicted work that waits", "s", (("max by (pool) (ray_slackwise_pool_backlog_seconds)", "{{pool}}"),)),
    Panel(
        "Calls by replica",
        "reqps",
        ((f"sum by (pool, replica) (rate(ray_slackwise_routed_total{RATE}))", "{{pool}} {{replica}}"),),
    ),
    Panel(
        "A routing decision",
        "s",
        tuple((quantile(q, "slackwise_route_seconds", "pool"), f"{{{{pool}}}} P{100 * q:g}") for q in (0.5, 0.99)),
    ),
    Panel(
        "Decisions of provisioning, new bundles",
        "none",
        (
            (f"sum by (reason) (increase(ray_slackwise_decisions_total{RATE}))", "{{reason}}"),
            (f"sum(increase(ray_slackwise_bundles_total{RATE}))", "bundles"),
        ),
    ),
)


def dashboard(name: str) -> dict[str, Any]:
    """The document that Grafana imports, for the service `name`; the data source is chosen there."""
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "title": f"slackwise: {name}",
        "uid": None,
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source]},
        "panels": [_panel(at, panel) for at, panel in enumerate(PANELS)],
    }


def _panel(at: int, panel: Panel) -> dict[str, Any]:
    place = {"x": at % COLUMNS * WIDTH, "y": at // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT}
    targets = [
        {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for number, (query, legend) in enumerate(panel.queries)
    ]
    defaults = {"unit": panel.unit, "min": 0}
    return {
        "id": at + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }
