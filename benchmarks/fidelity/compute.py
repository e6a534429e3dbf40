"""A vLLM engine that really computes against the simulator: measure, calibrate, replay under load.

    python benchmarks/fidelity/compute.py [--engine-args JSON] [--requests 150] [--load 1.1] [--json]

On this machine's device, with a tiny LLaVA of random numbers by default: its steps are measured as `slackwise measure`
does, a latency model is fitted, text requests with tight and loose objectives are served by the engine in real
time, by fcfs and by least_slack, and simulated. Order and counts have to be right; errors of the times are printed and
hang on what else the machine does.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.adapters.vllm.in_process import make_room
from slackwise.adapters.vllm.loop import Job, Limits, Loop, make_scheduler
from slackwise.adapters.vllm.measure import Design, measure
from slackwise.adapters.vllm.tiny import tiny_model
from slackwise.errors import SlackwiseError
from slackwise.latency.costs import StepCosts
from slackwise.latency.fit import fit_steps
from slackwise.latency.measured import read_steps
from slackwise.latency.profile import load_profile, profile, write_profile
from slackwise.policies.winner import Winner, write_winner
from slackwise.simulator import isolated, preset
from slackwise.streams import stream

MODEL, GPU = "LLaVA-OneVision-7B", "A100-80GB"
"""What the bundle says; the profile says what things cost."""

SEQUENCES, STEP_TOKENS, LONGEST = 8, 512, 2048
TIGHT_S, LOOSE_S = 3.0, 30.0
"""Objectives in units of the mean service time of a request."""

ENGINE = {
    "load_format": "dummy",
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": LONGEST,
    "max_num_seqs": SEQUENCES,
    "max_num_batched_tokens": STEP_TOKENS,
    "kv_cache_memory_bytes": 256 << 20,
    "block_size": 32,
    "enable_prefix_caching": False,
    "disable_log_stats": True,
}
DESIGN = Design(decodes=(1, 2, 4, 8), contexts=(32, 256, 1024), prompts=(16, 64, 128, 256, 500), images=(), steps=8)


@dataclass(frozen=True)
class Served:
    """A replay: the order of first tokens, TTFTs by request [s], tokens generated."""

    order: list[str]
    ttft_s: NDArray[np.float64]
    tokens: int
    fallbacks: int


def engine(model: Path, additional: dict[str, Any], options: dict[str, Any]) -> Any:
    """An engine in this process; with a bundle in `additional`, under the plug-in."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    make_room()
    from vllm import LLM

    scheduler = "slackwise.adapters.vllm.SlackwiseScheduler" if "slackwise" in additional else None
    return LLM(model=str(model), scheduler_cls=scheduler, additional_config=additional, **{**ENGINE, **options})


def calibrated(model: Path, folder: Path, options: dict[str, Any]) -> tuple[StepCosts, Path, float]:
    """Costs fitted to the engine's steps, the profile's path, and the fit's cross-validated mean error."""
    steps, path = folder / "steps.csv", folder / "profile.json"
    instance = {"gpu": "here", "model": "tiny", "engine": "vllm", "tensor_parallel": "1"}
    llm = engine(model, {}, options)
    measure(llm, steps, DESIGN, instance, 112, 1, lambda line: print(line, file=sys.stderr))
    del llm
    gc.collect()
    fit = fit_steps(read_steps(steps))
    write_profile(path, profile(fit, 1 << 20, 0.0))
    return load_profile(path), path, fit.cross_validated_mape


def workload(costs: StepCosts, count: int, load: float, seed: int) -> list[Job]:
    """Text requests at `load` times what the engine can do, every other one urgent."""
    rng, now, jobs = stream(seed, "compute"), 0.0, []
    alone = Loop(_stock(), costs, [Job("r", 0.0, 300, 12)]).run()["r"].last_s
    service_s = alone / 3  # batches help
    for at in range(count):
        now += float(rng.exponential(service_s / load))
        objective_s = (TIGHT_S if at % 2 else LOOSE_S) * alone
        jobs.append(Job(f"r{at}", now, int(rng.integers(50, 550)), int(rng.integers(4, 20)), objective_s=objective_s))
    return jobs


_MODEL: list[Path] = []


def _stock(settings: dict[str, Any] | None = None) -> Any:
    name = "slackwise.adapters.vllm.SlackwiseScheduler" if settings else None
    return make_scheduler(_MODEL[0], Limits(SEQUENCES, STEP_TOKENS, 512, 1 << 18), name, settings)


def replay(llm: Any, jobs: list[Job]) -> Served:
    """Serve the jobs in real time."""
    from vllm import SamplingParams

    inner, waiting = llm.llm_engine, sorted(jobs, key=lambda job: job.arrival_s)
    first: dict[str, float] = {}
    begun, tokens, at = time.monotonic() + 0.05, 0, 0
    while at < len(waiting) or inner.has_unfinished_requests():
        while at < len(waiting) and begun + waiting[at].arrival_s <= time.monotonic():
            job = waiting[at]
            extra = {"slo_ms": 1e3 * (job.objective_s or 1.0)}
            sampling = SamplingParams(max_tokens=job.output_tokens, temperature=0, ignore_eos=True, extra_args=extra)
            arrival = time.time() - (time.monotonic() - begun - job.arrival_s)
            prompt = {"prompt_token_ids": [5] * job.prompt_tokens}
            inner.add_request(job.name, prompt, sampling, arrival_time=arrival)
            at += 1
        if not inner.has_unfinished_requests():
            time.sleep(0.0005)
            continue
        for output in inner.step():
            if output.outputs[0].token_ids:
                first.setdefault(output.request_id.rsplit("-", 1)[0], time.monotonic() - begun)
            if output.finished:
                tokens += len(output.outputs[0].token_ids)
    scheduler = inner.engine_core.engine_core.scheduler
    fallbacks = scheduler.conductor.counters.fallbacks if hasattr(scheduler, "conductor") else 0
    ttft = np.array([_named(first, job.name) - job.arrival_s for job in jobs])
    return Served(sorted(first, key=lambda name: first[name]), ttft, tokens, fallbacks)


def served(model: Path, settings: dict[str, Any], options: dict[str, Any], jobs: list[Job]) -> Served:
    """The jobs served by an engine of their own, warmed up."""
    llm = engine(model, {"slackwise": settings}, options)
    replay(llm, [replace(job, name=f"w{at}") for at, job in enumerate(jobs[:8])])  # the first of a shape costs more
    found = replay(llm, jobs)
    del llm
    gc.collect()  # an engine that goes later takes what the next one shares with it along
    return found


def _named(first: dict[str, float], name: str) -> float:
    return first[name] if name in first else first[next(each for each in first if each.split("-")[0] == name)]


def bundle(folder: Path, batching: str, profile_path: Path) -> dict[str, Any]:
    """Settings of the plug-in with this batching policy and the measured latency."""
    start = preset("vllm", MODEL, GPU, 4)
    path = folder / f"{batching}.json"
    cluster = asdict(start.cluster) | {"topology": start.cluster.topology}
    policies = start.policies.changed([f"batching={batching}"])
    write_winner(path, Winner(policies, MODEL, GPU, cluster, isolated(start.cluster).to_json(), {}))
    return {"bundle": str(path), "force": True, "latency": str(profile_path), "longest_wait_s": None}


def attainment(jobs: list[Job], ttft_s: NDArray[np.float64]) -> float:
    """Share of requests with their first token in time."""
    return float(np.mean(ttft_s <= np.array([job.objective_s for job in jobs])))


def overtakes(jobs: list[Job], ttft_s: NDArray[np.float64]) -> dict[str, int]:
    """Pairs whose later arrival got its first token first: by whoever was due earlier, and by others."""
    arrival_s = np.array([job.arrival_s for job in jobs])
    due_s, first_s = arrival_s + np.array([job.objective_s for job in jobs]), arrival_s + ttft_s
    overtook = (arrival_s[:, None] > arrival_s) & (first_s[:, None] < first_s)
    earlier = due_s[:, None] < due_s
    return {"by_earlier_deadline": int((overtook & earlier).sum()), "by_others": int((overtook & ~earlier).sum())}


def compare(folder: Path, count: int, load: float, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Measure, fit, and serve the same jobs in the engine and in virtual time by fcfs and least_slack."""
    model = tiny_model(folder / "model", longest=LONGEST, layers=4, hidden=256)
    _MODEL[:] = [model]
    costs, path, error = calibrated(model, folder, options)
    jobs = workload(costs, count, load, seed)
    found: dict[str, Any] = {"requests": count, "load": load, "fit_error": error}
    for batching in ("fcfs", "least_slack"):
        settings = bundle(folder, batching, path)
        times = Loop(_stock(settings | {"correct_estimates": False}), costs, jobs).run()
        ours = np.array([times[job.name].first_s - job.arrival_s for job in jobs])
        theirs = served(model, settings, options, jobs)
        found[batching] = {
            "attainment": {"simulated": attainment(jobs, ours), "engine": attainment(jobs, theirs.ttft_s)},
            "mean_ttft_s": {"simulated": float(ours.mean()), "engine": float(theirs.ttft_s.mean())},
            "mean_error": float(ours.mean() / theirs.ttft_s.mean() - 1.0),
            "tokens": theirs.tokens,
            "tokens_wanted": sum(job.output_tokens for job in jobs),
            "fallbacks": theirs.fallbacks,
            "overtakes": overtakes(jobs, theirs.ttft_s),
        }
    for who in ("simulated", "engine"):
        gains = [found[batching]["attainment"][who] for batching in ("fcfs", "least_slack")]
        found[f"gain_{who}"] = gains[1] - gains[0]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--load", type=float, default=1.1, help="arrivals over what the engine can about do")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine-args", default="{}", help="JSON: arguments of vllm.LLM over the benchmark's own")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = compare(Path(folder), given.requests, given.load, given.seed, json.loads(given.engine_args))
    except SlackwiseError as error:
        print(f"compute.py: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found) if given.json else "\n".join(f"{name:>16}  {value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
