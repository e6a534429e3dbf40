"""Prometheus metrics of the plug-in, through vLLM's plug-in group `vllm.stat_logger_plugins`.

The scheduler counts in its own process; the API server, where this runs, reads its file whenever it is scraped. With
several API servers (Prometheus' multi-process mode) vLLM shows no collectors, and so none of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from vllm.v1.metrics.loggers import StatLoggerBase

from slackwise.adapters.vllm.counters import CLASSES, POLICY_US, SLACK_S, SOURCES, counters_path, read_counters
from slackwise.policies.features import PENDING

COUNTS = {
    "steps": "Steps composed.",
    "admitted": "Requests admitted, once again after a preemption.",
    "reorders": "Admissions before a request that had come earlier.",
    "image_caps": "Chunks that the chunking policy ended before the next image.",
    "fallbacks": "Times that the plug-in failed and the engine went on in order of arrival.",
    "bad_deadlines": "Requests whose deadline made no sense.",
    "starving": "Requests moved up because they had waited too long.",
    "preempted": "Requests preempted.",
    "images": "Images of the requests that have come.",
    "image_tokens": "Tokens of these images.",
    "text_tokens": "Prompt tokens of the requests that have come, those of images aside.",
    "images_encoded": "Images encoded by this engine.",
    "images_found": "Images whose embeddings an encoder instance had written when the request came.",
}
"""Counters without a class: name -> help."""


class Collector:
    """Reads the counters of one engine at each scrape."""

    def __init__(self, path: Path, labels: dict[str, str]) -> None:
        self.path, self.labels = path, labels

    def collect(self) -> Iterator[Any]:
        """The metrics of this moment; none before the engine has written any."""
        values = read_counters(self.path)
        if values is not None:
            yield from families(values, self.labels)


def families(values: Any, labels: dict[str, str]) -> Iterator[Any]:
    """A record of COUNTERS as Prometheus' metric families."""
    names, given = list(labels), list(labels.values())
    for name, told in COUNTS.items():
        count = CounterMetricFamily(f"slackwise:{name}", told, labels=names)
        count.add_metric(given, float(values[name]))
        yield count
    for name, told in (("prefill", "prefilling"), ("encode", "encoding")):
        correction = f"{name}_correction"
        gauge = GaugeMetricFamily(f"slackwise:{correction}", f"Measured over modelled seconds of {told}.", labels=names)
        gauge.add_metric(given, float(values[correction]))
        yield gauge
    sources = CounterMetricFamily("slackwise:objectives", "Where objectives came from.", labels=[*names, "source"])
    for at, source in enumerate(SOURCES):
        sources.add_metric([*given, source], float(values["source"][at]))
    yield sources
    for at, name in enumerate(PENDING):
        gauge = GaugeMetricFamily(f"slackwise:{name}", "Of what waits or is not yet prefilled.", labels=names)
        gauge.add_metric(given, float(values["pending"][at]))
        yield gauge
    yield from _by_class(values, names, given)
    policy = HistogramMetricFamily("slackwise:policy_seconds", "The plug-in's own time in a step.", labels=names)
    ends, counts = [each / 1e6 for each in POLICY_US], values["policy_us_buckets"]
    policy.add_metric(given, buckets=_buckets(ends, counts), sum_value=float(values["policy_us"]) / 1e6)
    yield policy


def _by_class(values: Any, names: list[str], given: list[str]) -> Iterator[Any]:
    slack = HistogramMetricFamily("slackwise:admission_slack_seconds", "Slack at admission.", labels=[*names, "class"])
    came = CounterMetricFamily("slackwise:requests", "Requests that have come.", labels=[*names, "class"])
    first = CounterMetricFamily("slackwise:first_tokens", "Requests with a first token.", labels=[*names, "class"])
    met = CounterMetricFamily("slackwise:ttft_met", "Of these, within their deadlines.", labels=[*names, "class"])
    share = GaugeMetricFamily("slackwise:ttft_attainment", "Share of these since the start.", labels=[*names, "class"])
    for at, kind in enumerate(CLASSES):
        buckets = _buckets(SLACK_S, values["slack_s_buckets"][at])
        slack.add_metric([*given, kind], buckets=buckets, sum_value=float(values["slack_s"][at]))
        came.add_metric([*given, kind], float(values["requests"][at]))
        first.add_metric([*given, kind], float(values["first_tokens"][at]))
        met.add_metric([*given, kind], float(values["met"][at]))
        if values["first_tokens"][at]:
            share.add_metric([*given, kind], float(values["met"][at] / values["first_tokens"][at]))
    yield from (slack, came, first, met, share)


def _buckets(ends: Sequence[float], counts: Any) -> list[tuple[str, float]]:
    """Cumulated counts by upper end, as Prometheus wants them."""
    return [(str(end), float(count)) for end, count in zip([*ends, "+Inf"], accumulate(counts.tolist()), strict=True)]


class SlackwiseStatLogger(StatLoggerBase):
    """Registers the collector of an engine that runs the plug-in; does nothing in any other."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        settings = (vllm_config.additional_config or {}).get("slackwise")
        if not isinstance(settings, dict):
            return
        given = settings.get("counters")
        path = counters_path(given if isinstance(given, str) else None, vllm_config.instance_id, engine_index)
        labels = {"model_name": str(vllm_config.model_config.served_model_name), "engine": str(engine_index)}
        REGISTRY.register(Collector(path, labels))

    def record(self, *args: Any, **kwargs: Any) -> None:
        """The scheduler has counted already."""

    def log_engine_initialized(self) -> None:
        """Nothing to say."""
