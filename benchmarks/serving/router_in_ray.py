"""Seconds of a routing decision inside Ray: the router of a running ingress is shown more and more replicas.

    python benchmarks/serving/router_in_ray.py --out router_in_ray

The router is the one that Ray Serve made for the ingress' handle of the encoder pool, in the ingress' process; the
replicas are named and report, but are not there. A decision is `choose_replicas` whole: features of the call, reports
taken in, the policy asked, the call counted. Every FRESH decisions all replicas have a new report, as at 100 calls/s.
Seconds of the clock, and of the thread's processor time, which leave out what else runs on the machine.
Written: OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fleet import configuration, fleet, machine, publish

REPLICAS, DECISIONS, WARM_UP, FRESH = (4, 16, 64, 256), 3000, 300, 25
PAGE = 1000
"""Decisions between two rests of the event loop."""


def report(at: int, made_s: float) -> dict[str, Any]:
    """What a replica would say of itself."""
    counts = dict.fromkeys(("pending_images", "waiting", "pending_tiles", "pending_image_tokens"), at % 7)
    return {**counts, "backlog_s": 0.1 * (at % 7), "running": 1, "made_s": made_s}


class Probe:
    """A deployment with a handle of its own to the pool, whose router it times."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle.options(method_name="encode")

    async def __call__(self, replicas: int, decisions: int) -> list[tuple[float, float]]:
        """(seconds, processor seconds) of each decision over so many replicas."""
        call = {"kind": "encode", "images": 3, "characters": 400, "max_tokens": 8, "encoded": False}
        await self.handle.remote({**call, "arrival_s": time.time(), "body": {}, "image": {}})
        inside = self.handle._router._asyncio_router.request_router
        loop = self.handle._router._asyncio_loop
        future = asyncio.run_coroutine_threadsafe(decide(inside, replicas, decisions, call), loop)
        return await asyncio.wrap_future(future)


async def decide(router: Any, replicas: int, decisions: int, call: dict[str, Any]) -> list[tuple[float, float]]:
    """The decisions, in the event loop of the router."""
    from ray.serve._private.common import RequestMetadata
    from ray.serve.request_router import PendingRequest

    shown = [
        SimpleNamespace(replica_id=SimpleNamespace(unique_id=f"replica-{at}"), routing_stats={})
        for at in range(replicas)
    ]
    taken = []
    for at in range(decisions):
        if at % FRESH == 0:
            for number, each in enumerate(shown):
                each.routing_stats = report(number + at, time.time())
        metadata = RequestMetadata(request_id=str(at), internal_request_id=str(at))
        pending = PendingRequest(args=[{**call, "arrival_s": time.time()}], kwargs={}, metadata=metadata)
        began, begun = time.perf_counter(), time.thread_time()
        ranks = await router.choose_replicas(shown, pending)
        taken.append((time.perf_counter() - began, time.thread_time() - begun))
        router.on_request_routed(pending, ranks[0][0].replica_id, None)
        router.on_request_completed(ranks[0][0].replica_id, str(at))
        if at % PAGE == 0:
            await asyncio.sleep(0)
    return taken


def microseconds(seconds: Any) -> dict[str, float]:
    """Quantiles."""
    return {f"p{share}": round(float(np.quantile(seconds, share / 100)) * 1e6, 1) for share in (50, 90, 99)}


def main() -> None:
    """Time the router over more and more replicas and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    with fleet(configuration(1, 1), 1.0) as running:
        from ray import serve

        made = serve.deployment(name="probe", ray_actor_options={"num_cpus": 0.05})(Probe)
        probe = serve.run(made.bind(running.handle("e")), name="probe", route_prefix=None)
        for replicas in REPLICAS:
            both = np.array(probe.remote(replicas, DECISIONS + WARM_UP).result())[WARM_UP:]
            fresh = np.arange(len(both)) % FRESH == 0
            row: dict[str, Any] = {"replicas": replicas, "load_average": machine()["load_average"]}
            for name, seconds in (("clock", both[:, 0]), ("processor", both[:, 1])):
                parts = {"between": seconds[~fresh], "reported": seconds[fresh]}
                row[name] = {part: microseconds(these) for part, these in parts.items()}
            rows.append(row)
    lines = [
        "| replicas | clock P50 [us] | P90 | P99 | processor P50 [us] | P90 | P99 | the same, all reports new |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [*row["clock"]["between"].values(), *row["processor"]["between"].values()]
        cells.append(row["processor"]["reported"]["p50"])
        lines.append(f"| {row['replicas']} | " + " | ".join(f"{each:.0f}" for each in cells) + " |")
    policy = configuration(1, 1).policies.encode_routing.name
    lines += ["", f"Policy {policy}, {DECISIONS} decisions each, load average {rows[-1]['load_average']}."]
    publish(options.out, {"policy": policy, "rows": rows, "machine": machine()}, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
