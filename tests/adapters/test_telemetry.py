"""Metrics and dashboard: every metric can be written, every query names one; what requests and decisions leave."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.ray.dashboard import PANELS, dashboard
from slackwise.adapters.ray.decider import Decider
from slackwise.adapters.ray.hot import Bundle, Store
from slackwise.adapters.ray.path import ReplicaError
from slackwise.adapters.ray.shown import shown, write
from slackwise.adapters.ray.telemetry import COUNTER, GAUGE, METRICS, PrometheusTelemetry, exported
from slackwise.adapters.ray.views import PoolState
from slackwise.adapters.ray.watched import Watch
from slackwise.adapters.ray.workload import Asked, read_chat

from .bundles import bundle
from .test_ray_provisioning import SIZES

pytest.importorskip("prometheus_client")


@pytest.fixture
def current(tmp_path: Path) -> Bundle:
    return Bundle(bundle(tmp_path / "winner.json").read_text(encoding="utf-8"))


def test_every_query_of_the_dashboard_names_a_metric_that_exists_and_labels_that_it_has() -> None:
    known = exported()
    for panel in dashboard("m")["panels"]:
        for target in panel["targets"]:
            named = re.findall(r"ray_slackwise_\w+", target["expr"])
            assert named
            assert set(named) <= known
            labels = {label for names in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in names.split(", ")}
            metrics = [METRICS[re.sub(r"_(total|bucket|sum|count)$", "", name.removeprefix("ray_"))] for name in named]
            assert labels - {"le"} <= {label for metric in metrics for label in metric.labels}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels


def test_every_metric_is_in_the_dashboard_and_panels_do_not_overlap() -> None:
    document = dashboard("m")
    text = json.dumps(document)
    assert [name for name in METRICS if f"ray_{name}" not in text] == []
    places = [tuple(panel["gridPos"].values()) for panel in document["panels"]]
    assert len(set(places)) == len(PANELS)
    assert len({panel["id"] for panel in document["panels"]}) == len(PANELS)


def test_prometheus_finds_every_series_under_the_name_that_the_table_gives_it() -> None:
    telemetry = PrometheusTelemetry()
    for name, metric in METRICS.items():
        labels = dict.fromkeys(metric.labels, "x")
        {COUNTER: telemetry.add, GAUGE: telemetry.show}.get(metric.kind, telemetry.see)(name, 1.0, **labels)
    found = set(re.findall(r"^(\w+)(?:{| )", telemetry.text(), flags=re.M))
    assert exported("") <= found


async def answers(*pieces: Any) -> AsyncGenerator[Any, None]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def chat(images: int = 0) -> Asked:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    return read_chat({"messages": [{"content": [{"type": "text", "text": "x"}, *[image] * images]}]}, 16)


@pytest.mark.parametrize(
    ("pieces", "outcome", "judged"),
    [
        (({"tokens": 1}, {"tokens": 3}), "answered", (1, 1)),
        ((ReplicaError(400, "no"),), "refused", (0, 0)),
        ((ReplicaError(429, "full"),), "full", (1, 0)),
        ((RuntimeError("lost"),), "failed", (1, 0)),
        (({"tokens": 1}, RuntimeError("lost")), "failed", (1, 1)),
        ((), "failed", (1, 0)),
    ],
)
def test_a_request_leaves_its_outcome_its_times_and_its_judgement(
    current: Bundle, pieces: tuple[Any, ...], outcome: str, judged: tuple[float, float]
) -> None:
    telemetry = PrometheusTelemetry()
    watch = Watch(current, 4, telemetry)

    async def run() -> None:
        async for _ in watch.pieces(chat(1), answers(*pieces), time.time()):
            assert watch.flying == 1

    with suppress(ReplicaError, RuntimeError):
        asyncio.run(run())
    found = watch.counters()
    assert (found["ttft_judged"], found["ttft_met"]) == judged
    text = telemetry.text()
    assert f'slackwise_requests_total{{class="image",outcome="{outcome}"}} 1.0' in text
    assert f'slackwise_judged_total{{objective="ttft"}} {float(judged[0])}' in text or judged[0] == 0
    assert "slackwise_in_flight 0.0" in text
    assert (watch.flying, watch.judge.open) == (0, {})


def test_a_client_that_hangs_up_is_not_judged(current: Bundle) -> None:
    telemetry = PrometheusTelemetry()
    watch = Watch(current, 4, telemetry)

    async def run() -> None:
        seen = watch.pieces(chat(), answers({"tokens": 1}, {"tokens": 1}), 1e12)
        await anext(seen)
        await seen.aclose()

    asyncio.run(run())
    assert 'slackwise_requests_total{class="text",outcome="left"} 1.0' in telemetry.text()
    assert watch.counters()["tbt_judged"] == 0


def test_a_decision_is_shown_and_written(current: Bundle) -> None:
    decider, telemetry = Decider(current, SIZES, 8), PrometheusTelemetry()
    states = [PoolState(1, 1, 0, {"a": {"waiting": 3.0}}), PoolState(1, 0, 0, {})]
    document = shown(decider, decider.decide(states, 0.0), advisory=True)
    write(document, telemetry)
    assert document["pools"]["e"] | {"ready": 1, "starting": 1, "waiting": 3} == document["pools"]["e"]
    assert json.loads(json.dumps(document, allow_nan=False))["advisory"] is True
    assert 'slackwise_pool_instances{pool="e",state="starting"} 1.0' in telemetry.text()


def test_the_store_keeps_what_parts_say_for_a_minute_and_of_so_many_only(
    current: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slackwise.adapters.ray import hot

    store = Store((tmp_path / "winner.json").read_text(encoding="utf-8"))
    for at in range(hot.MOST_TELLINGS + 3):
        store.tell(f"part {at}", {"in_flight": at})
    assert len(store.told()) == hot.MOST_TELLINGS
    assert store.told()[f"part {hot.MOST_TELLINGS + 2}"]["in_flight"] == hot.MOST_TELLINGS + 2
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + hot.KEPT_S + 1)
    assert store.told() == {}
