"""Metrics of what routes, judges and sizes: one table, written to Ray's metrics, to Prometheus' client, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slackwise.optional import require

SECONDS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
TOKEN_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
DECISION_SECONDS = (0.00003, 0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.003, 0.01, 0.1)
COUNTER, GAUGE, HISTOGRAM = "Counter", "Gauge", "Histogram"


@dataclass(frozen=True)
class Metric:
    """A metric: its kind, what it says, its labels, and the upper ends of a histogram's buckets."""

    kind: str
    told: str
    labels: tuple[str, ...] = ()
    ends: tuple[float, ...] = ()


METRICS = {
    "slackwise_requests": Metric(COUNTER, "Requests that have ended.", ("class", "outcome")),
    "slackwise_in_flight": Metric(GAUGE, "Requests that are being served."),
    "slackwise_ttft_seconds": Metric(HISTOGRAM, "Time to the first token, at the endpoint.", ("class",), SECONDS),
    "slackwise_tbt_seconds": Metric(HISTOGRAM, "Mean time between a request's tokens.", ("class",), TOKEN_SECONDS),
    "slackwise_judged": Metric(COUNTER, "Requests judged by an objective.", ("objective",)),
    "slackwise_met": Metric(COUNTER, "Of these, those within it.", ("objective",)),
    "slackwise_routed": Metric(COUNTER, "Calls routed.", ("pool", "replica")),
    "slackwise_route_seconds": Metric(HISTOGRAM, "A routing decision.", ("pool",), DECISION_SECONDS),
    "slackwise_bundles": Metric(COUNTER, "New bundles that routers took up.", ("pool",)),
    "slackwise_pool_instances": Metric(GAUGE, "Instances of a pool: ready, starting, draining.", ("pool", "state")),
    "slackwise_pool_wanted": Metric(GAUGE, "Instances that the policy wants.", ("pool",)),
    "slackwise_pool_target": Metric(GAUGE, "Instances that the guard allows now.", ("pool",)),
    "slackwise_pool_waiting": Metric(GAUGE, "Requests or encode jobs that wait.", ("pool",)),
    "slackwise_pool_running": Metric(GAUGE, "Requests or encode jobs that run.", ("pool",)),
    "slackwise_pool_backlog_seconds": Metric(GAUGE, "Predicted seconds of what waits.", ("pool",)),
    "slackwise_attainment": Metric(GAUGE, "Share within the objective since the last decision.", ("objective",)),
    "slackwise_decisions": Metric(COUNTER, "Provisioning decisions.", ("reason",)),
}
"""Name -> metric. Prometheus adds `_total` to a counter, and Ray `ray_` in front."""


class Telemetry:
    """Writes metrics of the table; this one writes nowhere."""

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Count up a counter."""

    def show(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def see(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""


class RayTelemetry(Telemetry):
    """Metrics of Ray, exported by every node's own endpoint."""

    def __init__(self) -> None:
        made = require("ray.util.metrics", "serve")
        self._metrics: dict[str, Any] = {}
        for name, metric in METRICS.items():
            ends = {"boundaries": list(metric.ends)} if metric.kind == HISTOGRAM else {}
            kind = getattr(made, metric.kind)
            self._metrics[name] = kind(name, description=metric.told, tag_keys=metric.labels, **ends)

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        if value > 0:
            self._metrics[name].inc(value, tags=labels)

    def show(self, name: str, value: float, **labels: str) -> None:
        self._metrics[name].set(value, tags=labels)

    def see(self, name: str, value: float, **labels: str) -> None:
        self._metrics[name].observe(value, tags=labels)


class PrometheusTelemetry(Telemetry):
    """Metrics of prometheus_client in a registry of its own."""

    def __init__(self) -> None:
        client = require("prometheus_client", "gateway")
        self.registry = client.CollectorRegistry()
        self._metrics: dict[str, Any] = {}
        for name, metric in METRICS.items():
            ends = {"buckets": metric.ends} if metric.kind == HISTOGRAM else {}
            kind = getattr(client, metric.kind)
            self._metrics[name] = kind(name, metric.told, metric.labels, registry=self.registry, **ends)

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        self._of(name, labels).inc(value)

    def show(self, name: str, value: float, **labels: str) -> None:
        self._of(name, labels).set(value)

    def see(self, name: str, value: float, **labels: str) -> None:
        self._of(name, labels).observe(value)

    def text(self) -> str:
        """Prometheus' text form."""
        text: bytes = require("prometheus_client", "gateway").generate_latest(self.registry)
        return text.decode()

    def _of(self, name: str, labels: Mapping[str, str]) -> Any:
        return self._metrics[name].labels(**labels) if labels else self._metrics[name]


def exported(prefix: str = "ray_") -> set[str]:
    """The names under which Prometheus finds the series of all metrics."""
    endings = {COUNTER: ("_total",), GAUGE: ("",), HISTOGRAM: ("_bucket", "_sum", "_count")}
    return {f"{prefix}{name}{end}" for name, metric in METRICS.items() for end in endings[metric.kind]}
