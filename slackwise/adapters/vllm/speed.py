"""What the plug-in costs: microseconds of a step, against vLLM's stock scheduler in the same process."""

from __future__ import annotations

import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slackwise.adapters.vllm.loop import Job, Limits, Loop, make_scheduler
from slackwise.adapters.vllm.support import installed
from slackwise.adapters.vllm.tiny import tiny_model
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.roofline import roofline
from slackwise.policies.bundle import Policies, PolicyChoice
from slackwise.policies.winner import Winner, write_winner

MODEL, GPU = "LLaVA-OneVision-7B", "A100-80GB"
RUNNING, FEW, MANY = 128, 256, 2048
"""Requests that decode; requests that wait."""

POLICIES = {"least_slack": "fixed order", "hrrn": "order that changes with time"}


def plugin_speed(steps: int, runs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Medians over steps of an engine that decodes 128 requests while 256, or 2,048, wait.

    Plug-in and stock take turns, `runs` times `steps` steps each; a step is schedule() and update_from_output().
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = tiny_model(place / "model", longest=65536)
        rows = {}
        for name in POLICIES:
            bundle = _bundle(place / f"{name}.json", name)
            for waiting in (FEW, MANY):
                say(f"{name}, {waiting:,} waiting")
                rows[name, waiting] = _pair(model, bundle, waiting, steps, runs)
    table = {f"{name}_{waiting}_waiting": row for (name, waiting), row in rows.items()}
    changing = (rows["hrrn", MANY]["overhead_us"] - rows["hrrn", FEW]["overhead_us"]) / (MANY - FEW)
    fixed = (rows["least_slack", MANY]["overhead_us"] - rows["least_slack", FEW]["overhead_us"]) / (MANY - FEW)
    return {
        "step_overhead_us": rows["least_slack", FEW]["overhead_us"],
        "step_overhead_changing_us": rows["hrrn", FEW]["overhead_us"],
        "per_waiting_us": max(0.0, fixed),
        "per_waiting_changing_us": max(0.0, changing),
        "stock_step_us": rows["least_slack", FEW]["stock_us"],
        "share_of_10_ms": rows["least_slack", FEW]["overhead_us"] / 1e4,
        "rows": table,
        "running": RUNNING,
        "vllm": installed(),
        "machine": platform.processor() or platform.machine(),
    }


def _pair(model: Path, bundle: Path, waiting: int, steps: int, runs: int) -> dict[str, float]:
    stock, ours = _loop(model, None, waiting), _loop(model, bundle, waiting)
    times: dict[str, list[float]] = {"stock_us": [], "plugin_us": []}
    for _ in range(runs):
        for name, loop in (("stock_us", stock), ("plugin_us", ours)):
            times[name] += _step_times(loop, steps)
    medians = {name: statistics.median(each) for name, each in times.items()}
    return medians | {"overhead_us": medians["plugin_us"] - medians["stock_us"]}


def _loop(model: Path, bundle: Path | None, waiting: int) -> Loop:
    """An engine in the middle of its work: all seats taken by decodes that go on, the rest waits."""
    settings = {"bundle": str(bundle), "force": True} if bundle else None
    cls = (
        "slackwise.adapters.vllm.SlackwiseScheduler" if bundle else "vllm.v1.core.sched.async_scheduler.AsyncScheduler"
    )
    limits = Limits(sequences=RUNNING, step_tokens=2048, kv_tokens=1 << 23)
    scheduler = make_scheduler(model, limits, cls, settings)
    jobs = [Job(f"r{at}", 1e-6 * at, 16 + at % 50, 30000) for at in range(RUNNING + waiting)]
    loop = Loop(scheduler, roofline(load_model(MODEL), load_gpu(GPU), 1), jobs)
    while loop.steps < 100 or len(scheduler.running) < RUNNING:
        loop.turn()
    return loop


def _step_times(loop: Loop, steps: int) -> list[float]:
    """Microseconds of CPU that the scheduler takes in each of so many steps, the modelled device's left out."""
    scheduler, found = loop.scheduler, []
    inner_schedule, inner_update = scheduler.schedule, scheduler.update_from_output
    spent = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            result = function(*args, **kwargs)
            spent[0] += time.thread_time() - began
            return result

        return call

    scheduler.schedule, scheduler.update_from_output = timed(inner_schedule), timed(inner_update)
    gc.disable()
    try:
        for _ in range(steps):
            spent[0] = 0.0
            loop.turn()
            found.append(1e6 * spent[0])
    finally:
        gc.enable()
        del scheduler.schedule, scheduler.update_from_output
    return found


def _bundle(path: Path, batching: str) -> Path:
    choices = {"encode_routing": "least_requests", "encode_batching": "fcfs", "routing": "least_requests"}
    choices |= {"chunking": "k_images", "batching": batching}
    policies = Policies(**{role: PolicyChoice(name) for role, name in choices.items()})
    slo = {"text_ttft_s": 1.0, "image_ttft_s": 2.0}
    write_winner(path, Winner(policies, MODEL, GPU, {}, slo, {}))
    return path
