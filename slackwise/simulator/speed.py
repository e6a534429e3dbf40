"""How fast the simulator is: the synthetic week on 128 A100s, on one core, compiled and warm."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slackwise.policies.bundle import Policies, PolicyChoice
from slackwise.simulator.configuration import Configuration
from slackwise.simulator.objectives import isolated
from slackwise.simulator.presets import disaggregated
from slackwise.simulator.simulation import Simulation
from slackwise.traces import Trace, fold, synthesize

MODEL, GPU, GPUS, TEXT_INSTANCES = "Llama-3.2-11B-Vision", "A100-80GB", 128, 20
PARTS = 84
"""The week is folded onto two hours: at 84 times the trace's rate the text instances are busy over 80 % of the time."""

COMPILE = (
    "from slackwise.policies import find; from slackwise.simulator import kernel; "
    "[find(f, n).compiled for f, n in (('batching', 'least_slack'), ('routing', 'predicted_completion'), "
    "('chunking', 'per_image'))]"
)


def kernel_speed(
    seed: int = 0, requests: int = 1_000_000, runs: int = 3, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Simulate the week `runs` times; requests/s and events/s are the median run's, per CPU second of one core."""
    progress("compiling into an empty cache")
    compile_s = _compile_seconds()
    progress(f"synthesizing {requests:,} requests")
    trace = fold(synthesize(seed, rows=requests), PARTS)
    configuration = _configuration()
    Simulation(trace.take(slice(0, 1000)), configuration, isolated(configuration.cluster), seed).run_until()
    measured = []
    for number in range(runs):
        measured.append(_measure(trace, configuration, seed))
        progress(f"run {number + 1} of {runs}: {measured[-1]['requests_per_s']:,.0f} requests/s")
    middle = sorted(measured, key=lambda each: each["requests_per_s"])[runs // 2]
    return {
        "requests": len(trace),
        **middle,
        "runs_requests_per_s": [each["requests_per_s"] for each in measured],
        "load_s": statistics.median(each["load_s"] for each in measured),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "compile_s": round(compile_s, 2),
        "topology": configuration.cluster.describe(),
        "policies": {role: choice["name"] for role, choice in configuration.policies.to_dict().items()},
        "trace": trace.source,
        "machine": machine(),
        "versions": versions(),
    }


def _configuration() -> Configuration:
    policies = Policies(
        encode_routing=PolicyChoice("predicted_completion"),
        encode_batching=PolicyChoice("least_slack"),
        chunking=PolicyChoice("per_image"),
        routing=PolicyChoice("predicted_completion"),
        batching=PolicyChoice("least_slack"),
    )
    return Configuration("bench", disaggregated(MODEL, GPU, GPUS, TEXT_INSTANCES), policies)


def _measure(trace: Trace, configuration: Configuration, seed: int) -> dict[str, Any]:
    start = time.process_time()
    simulation = Simulation(trace, configuration, isolated(configuration.cluster), seed)
    loaded = time.process_time()
    simulation.run_until()
    seconds = time.process_time() - loaded
    clock = simulation.state.clock[0]
    finish_s, engines = simulation.state.progress.finish_s.max(), simulation.state.engines
    return {
        "requests_per_s": round(len(trace) / seconds),
        "events_per_s": round(int(clock.events) / seconds),
        "events": int(clock.events),
        "steps": int(clock.steps),
        "run_s": round(seconds, 3),
        "load_s": round(loaded - start, 3),
        "simulated_s": round(float(finish_s)),
        "busy_encoders": round(float(engines.busy_s[engines.pool == 0].mean() / finish_s), 3),
        "busy_text": round(float(engines.busy_s[engines.pool == 1].mean() / finish_s), 3),
    }


def _compile_seconds() -> float:
    """Seconds to compile the kernel and three policies into an empty cache, imports (timed apart) taken off."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        cold = _seconds(environment)
        return cold - _seconds(environment)


def _seconds(environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", COMPILE], env=environment, check=True)
    return time.perf_counter() - start


def machine() -> dict[str, Any]:
    """What this ran on."""
    return {"processor": _processor(), "cores": os.cpu_count(), "system": platform.platform(terse=True)}


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions() -> dict[str, str]:
    """Versions that decide the speed."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("slackwise", "numba", "numpy")}
