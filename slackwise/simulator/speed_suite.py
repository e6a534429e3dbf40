"""How speed holds up by topology, rate and policies, and as trace and fleet grow; each row in a fresh process."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from slackwise.policies.bundle import Policies, PolicyChoice
from slackwise.simulator.cluster import Cluster, Pool
from slackwise.simulator.configuration import Configuration
from slackwise.simulator.objectives import isolated
from slackwise.simulator.simulation import Simulation
from slackwise.simulator.speed import GPU, MODEL, PARTS, machine, versions
from slackwise.traces import Trace, fold, synthesize

WEEK_ROWS = 1_000_000
"""Requests of the week that, folded PARTS times, load 128 GPUs (speed.kernel_speed)."""

FLEETS: dict[str, tuple[Pool, ...]] = {
    "monolith": (Pool("EPD", 32, 4),),
    "E+PD": (Pool("E", 48, 1, "transformers"), Pool("PD", 20, 4)),
    "EP+D": (Pool("EP", 16, 4), Pool("D", 16, 4)),
    "ED+P": (Pool("ED", 16, 4), Pool("P", 16, 4)),
    "E+P+D": (Pool("E", 48, 1, "transformers"), Pool("P", 10, 4), Pool("D", 10, 4)),
}
"""128 GPUs in every topology."""

RATES = {"half": 0.5, "full": 1.0}
"""Shares of the rate at which the text instances of E+PD are busy over 80 % of the time."""

BUNDLES = {
    "first come, in turn": ("round_robin", "fcfs", "none", "round_robin", "fcfs"),
    "modserve": (
        "least_image_tokens", "modality_size_priority", "per_image", "least_text_tokens", "modality_size_priority",
    ),
    "least slack": ("predicted_completion", "least_slack", "per_image", "predicted_completion", "least_slack"),
}  # fmt: skip
"""Policies of the rows: encode routing and batching, chunking, routing, batching."""

REQUESTS = (10_000, 100_000, 1_000_000, 10_000_000)
INSTANCES = (8, 64, 512, 4096)
REQUESTS_AN_INSTANCE = 250
"""At least, so that filling and draining the fleet is not most of the run."""


@dataclass(frozen=True)
class Row:
    """What one row measures."""

    table: str  # "topology", "requests" or "instances"
    topology: str
    policies: str
    rate: float  # share of the full load
    requests: int
    instances: int | None = None  # None: the fleet of 128 GPUs
    images: bool = True


def rows(requests: int = 200_000, most_requests: int = 10_000_000, most_instances: int = 4096) -> Iterator[Row]:
    """Every row: topology x rate x policies, then growth of the trace, then of the fleet."""
    for rate in RATES.values():
        for policies in BUNDLES:
            yield Row("topology", "monolith", policies, rate, requests, images=False)
            yield from (Row("topology", topology, policies, rate, requests) for topology in FLEETS)
    for count in REQUESTS:
        if count <= most_requests:
            yield Row("requests", "E+PD", "least slack", 1.0, count)
    for instances in INSTANCES:
        if instances <= most_instances:
            enough = max(requests, REQUESTS_AN_INSTANCE * instances)
            yield from (Row("instances", "E+PD", each, 1.0, enough, instances) for each in BUNDLES)


def suite(
    seed: int = 0,
    requests: int = 200_000,
    most_requests: int = 10_000_000,
    most_instances: int = 4096,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure every row once, each alone in a fresh process so that `peak_rss_mb` is its own; `rows` is the table."""
    found = []
    context = multiprocessing.get_context("spawn")
    for row in rows(requests, most_requests, most_instances):
        with ProcessPoolExecutor(1, context) as process:
            found.append(process.submit(measure, row, seed).result())
        progress(line(found[-1]))
    return {"rows": found, "trace": "synthetic week", "machine": machine(), "versions": versions()}


def line(found: dict[str, Any]) -> str:
    """A row for people."""
    kind = "text only" if not found["images"] else found["topology"]
    name = f"{kind:>9} {found['instances']:>5} instances, {found['requests']:>10,} requests, {found['policies']}"
    busy = ", ".join(f"{stages} {share:.0%}" for stages, share in found["busy"].items())
    cost = f"{found['us_per_request']:.2f} us a request, {found['peak_rss_mb']:,.0f} MB"
    return f"{name}, {found['rate']:.0%} load: {cost}, busy {busy}"


def measure(row: Row, seed: int = 0) -> dict[str, Any]:
    """Run one row in this process; seconds are CPU seconds of one core, the kernel compiled before."""
    configuration = Configuration("bench", _cluster(row), _policies(row.policies))
    trace = _trace(row, sum(pool.instances for pool in configuration.cluster.pools), seed)
    objectives = isolated(configuration.cluster)
    Simulation(trace.take(slice(0, 200)), configuration, objectives, seed).run_until()
    start = time.process_time()
    simulation = Simulation(trace, configuration, objectives, seed)
    loaded = time.process_time()
    simulation.run_until()
    seconds = time.process_time() - loaded
    return asdict(row) | {
        "requests": len(trace),
        "instances": len(simulation.state.instances),
        "requests_per_s": round(len(trace) / seconds),
        "events_per_s": round(int(simulation.state.clock[0].events) / seconds),
        "us_per_request": round(1e6 * seconds / len(trace), 3),
        "run_s": round(seconds, 3),
        "load_s": round(loaded - start, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "simulated_s": round(float(simulation.state.progress.finish_s.max()), 1),
        "busy": _busy(simulation),
    }


def _busy(simulation: Simulation) -> dict[str, float]:
    engines, end_s = simulation.state.engines, float(simulation.state.progress.finish_s.max())
    pools = simulation.configuration.cluster.pools
    return {
        pool.stages: round(float(engines.busy_s[engines.pool == at].mean() / end_s), 3) for at, pool in enumerate(pools)
    }


def _cluster(row: Row) -> Cluster:
    pools = FLEETS[row.topology]
    if row.instances is not None:
        fleet = sum(pool.instances for pool in pools)
        counts = [max(1, round(pool.instances * row.instances / fleet)) for pool in pools]
        counts[0] += row.instances - sum(counts)
        pools = tuple(replace(pool, instances=count) for pool, count in zip(pools, counts, strict=True))
    return Cluster(MODEL, GPU, pools)


def _policies(name: str) -> Policies:
    return Policies(*(PolicyChoice(each) for each in BUNDLES[name]))


def _trace(row: Row, instances: int, seed: int) -> Trace:
    """`row.requests` requests at the rate that gives each GPU its share of the load; long traces repeat a week's."""
    rows = min(row.requests, WEEK_ROWS)
    size = instances / sum(pool.instances for pool in FLEETS[row.topology])
    parts = max(1, round(PARTS * row.rate * size * WEEK_ROWS / rows))
    trace = fold(synthesize(seed, rows=rows), parts)
    if not row.images:
        trace = replace(trace, recorded_images=np.zeros_like(trace.recorded_images))
    return _repeated(trace, row.requests // rows)


def _repeated(trace: Trace, times: int) -> Trace:
    """The trace one after another, with a mean gap between."""
    if times == 1:
        return trace
    period_s = trace.span_s * (1 + 1 / len(trace))
    arrival_s = (trace.arrival_s[None, :] + period_s * np.arange(times)[:, None]).ravel()
    return replace(
        trace,
        arrival_s=arrival_s,
        recorded_images=np.tile(trace.recorded_images, times),
        context_tokens=np.tile(trace.context_tokens, times),
        output_tokens=np.tile(trace.output_tokens, times),
    )
