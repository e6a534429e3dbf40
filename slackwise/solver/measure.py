"""Measures the capacity table: each kind of instance serves one modality alone, in the simulator, at rising rates.

Kinds are measured by themselves and in pools of some sizes, Poisson arrivals, their neighbours never the bottleneck: in
a pool latencies are better at the same rate each, as the router has a choice. Objectives are those of the reference
monolith, one for all kinds, so that a slow kind does not get a mild judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.policies.bundle import Policies, PolicyChoice
from slackwise.policies.features import DECODE, ENCODE, KINDS, PREFILL
from slackwise.simulator import Cluster, Configuration, Objectives, Pool, Simulation
from slackwise.simulator.presets import preset
from slackwise.simulator.workload import workload
from slackwise.solver.provisioning.data import Kind
from slackwise.solver.table import IMAGE, MODALITIES, TEXT, CapacityTable, Curve
from slackwise.solver.work import least_work
from slackwise.streams import stream
from slackwise.traces import Trace

POINTS = 40
"""Rates tried for a curve, each 10 % above the one before."""
LOWEST, HIGHEST = 0.02, 0.9
"""First and last rate, of the saturation of the latency model; near 1 a run of finite length hides the queue."""
SIZES = (1, 3, 8)
"""Instances of the pools that are measured."""
POOLED_POINTS, POOLED_LOWEST = 12, 0.3
"""Rates of pools of two and more: at lower ones an instance by itself does."""
LONGEST = 3
"""A pool is sent as many times the requests as it has instances, up to this."""
HOPELESS = 16.0
"""Times the objective; far beyond any level, so that higher rates need not be tried."""
REQUESTS = 1500
QUANTILE = 0.95
REFERENCE_PARALLEL = 4
ENCODER_GPUS = 4

TOPOLOGY_OF = {
    "EPD": ("EPD",),
    "E": ("E", "PD"),
    "PD": ("E", "PD"),
    "EP": ("EP", "D"),
    "D": ("EP", "D"),
    "ED": ("ED", "P"),
    "P": ("ED", "P"),
}
"""The topology in which a kind is measured."""

Progress = Callable[[str], None]


def default_kinds(
    model: str,
    gpu: str,
    topologies: Sequence[Sequence[str]] = (("EPD",), ("E", "PD")),
    parallel: Sequence[int] = (1, 2, 4, 8),
    batches: Sequence[int] = (256,),
    encoder_batches: Sequence[int] = (1,),
) -> tuple[Kind, ...]:
    """Kinds of these topologies that fit the model, encoders of up to ENCODER_GPUS; the batch is the engine's."""
    found = []
    for stages in dict.fromkeys(each for topology in topologies for each in topology):
        encoder = stages == "E"
        sizes = [each for each in parallel if not encoder or each <= ENCODER_GPUS]
        for size, batch in product(sizes, encoder_batches if encoder else batches):
            kind = Kind(stages, size, gpu, batch)
            try:
                costs = _cluster(model, kind).costs(_pool(kind))
            except InputError:
                continue  # the weights do not fit
            found.append(replace(kind, start_s=round(float(costs.load_s), 3)))
    if not found:
        raise InputError(f"{model} fits no instance of {', '.join(f'{each} x {gpu}' for each in parallel)}")
    return tuple(found)


def measure(
    trace: Trace,
    model: str,
    kinds: Sequence[Kind],
    objectives: Objectives,
    quantile: float = QUANTILE,
    requests: int = REQUESTS,
    points: int = POINTS,
    seed: int = 0,
    progress: Progress = lambda line: None,
    sizes: Sequence[int] = SIZES,
    reference: Cluster | None = None,
) -> CapacityTable:
    """The capacity table of `kinds` in pools of these `sizes` for requests like those of `trace`.

    `reference` is the monolith by which requests are judged, by default one on the first kind's GPUs. Raises InputError
    if the trace is empty or a kind does not fit its GPUs.
    """
    judge = reference or Cluster(model, kinds[0].gpu, (Pool("EPD", 1, REFERENCE_PARALLEL),))
    curves = []
    for at, kind in enumerate(kinds):
        progress(f"measuring {kind.name}")
        for modality in MODALITIES:
            rows = np.flatnonzero((trace.images > 0) == (modality == IMAGE))
            if not len(rows) or (modality == TEXT and kind.stages == "E"):
                curves.append(Curve(at, modality, 1, 0.0, (), (), ()))
                continue
            for size in sizes:
                sample = _sample(trace, rows, requests * min(size, LONGEST), seed)
                within_s = reference_ttft_s(sample, judge, objectives)
                bench = _Bench(kind, size, model, objectives, quantile, seed)
                curves.append(bench.curve(at, modality, sample, within_s, points))
    pictured = trace.images[trace.images > 0]
    return CapacityTable(
        model=model,
        kinds=tuple(kinds),
        curves=tuple(curves),
        quantile=quantile,
        images_per_request=float(pictured.mean()) if len(pictured) else 1.0,
        objectives=objectives.to_json(),
        source=f"simulated apart, {requests} requests a rate, seed {seed}, like: {trace.source}",
    )


def _sample(trace: Trace, rows: NDArray[np.int64], requests: int, seed: int) -> Trace:
    """`requests` rows drawn with replacement, at a mean gap of 1 s (Poisson)."""
    generator = stream(seed, "capacity")
    drawn = rows[generator.integers(0, len(rows), requests)]
    arrival = np.cumsum(generator.exponential(1.0, requests))
    return replace(
        trace,
        arrival_s=arrival,
        recorded_images=trace.recorded_images[drawn],
        context_tokens=trace.context_tokens[drawn],
        output_tokens=trace.output_tokens[drawn],
    )


@dataclass(frozen=True)
class _Bench:
    """A pool of one kind, to be sent requests at rising rates."""

    kind: Kind
    size: int
    model: str
    objectives: Objectives
    quantile: float
    seed: int

    def curve(self, at: int, modality: str, sample: Trace, within_s: NDArray[np.float64], points: int) -> Curve:
        """What its instances, kind `at` of a table, do at rising rates; `sample` has a mean gap of 1 s."""
        saturation, ratios = _saturation_rps(self._run(sample), self.kind), []
        alone = self.size == 1
        span = (LOWEST, HIGHEST, points) if alone else (POOLED_LOWEST, HIGHEST, min(points, POOLED_POINTS))
        rates = np.geomspace(*span) * saturation
        for rate in rates:
            run = self._run(replace(sample, arrival_s=sample.arrival_s / (self.size * rate)))
            ratios.append(_ratios(run, self.kind, within_s, self.objectives, self.quantile))
            if max(ratios[-1]) > HOPELESS:
                break
        ttft, tbt = zip(*ratios, strict=True)
        tried = tuple(float(each) for each in rates[: len(ratios)])
        return Curve(at, modality, self.size, float(saturation), tried, ttft, tbt)

    def _run(self, trace: Trace) -> Simulation:
        """A run as loaded, with the kind's batch."""
        cluster, kind = _cluster(self.model, self.kind, self.size), self.kind
        configuration = Configuration(kind.name, cluster, plan_policies(self.model, kind.gpu, kind.stages == "EPD"))
        run = Simulation(trace, configuration, self.objectives, self.seed)
        set_batches(run, [kind if pool.stages == kind.stages else None for pool in cluster.pools])
        return run


def _ratios(
    run: Simulation, kind: Kind, within_s: NDArray[np.float64], objectives: Objectives, quantile: float
) -> tuple[float, float]:
    """(quantile of the kind's part of TTFT / objective, quantile of TBT / objective); infinite if never served."""
    run.run_until()
    progress, images = run.workload.progress, run.workload.requests.images
    bits, begin = KINDS[kind.stages], run.workload.requests.arrival_s
    if bits & PREFILL and not bits & ENCODE:
        begin = np.where(images > 0, progress.encoded_s, begin)
    end = progress.first_token_s if bits & PREFILL else progress.encoded_s if bits & ENCODE else begin
    ttft = (end - begin) / within_s[~run.rejected]
    gaps = np.maximum(1, progress.output_tokens - 1)
    tbt = (progress.finish_s - progress.first_token_s) / gaps / objectives.tbt_s(images)
    if not bits & DECODE:
        tbt = np.zeros_like(tbt)
    everyone = np.full((2, len(within_s)), np.inf)
    everyone[:, ~run.rejected] = [ttft, tbt]
    worst = np.quantile(everyone, quantile, axis=1, method="higher")
    return float(worst[0]), float(worst[1])


def _saturation_rps(run: Simulation, kind: Kind) -> float:
    """Requests per second that the instance's least work allows (work.py)."""
    at = next(n for n, pool in enumerate(run.configuration.cluster.pools) if pool.stages == kind.stages)
    work = least_work(run.workload.requests, run.workload.progress, run.state.costs[at], run.state.pools[at])
    bits = KINDS[kind.stages]
    stages = ((ENCODE, work.encode_s), (PREFILL, work.prefill_s), (DECODE, work.decode_s))
    seconds = sum(float(each.mean()) for bit, each in stages if bits & bit)
    return 1.0 / seconds


def reference_ttft_s(trace: Trace, cluster: Cluster, objectives: Objectives) -> NDArray[np.float64]:
    """TTFT objective of each request, (n,), by its work on the reference monolith of the cluster's model and GPU."""
    monolith = replace(cluster, pools=(Pool("EPD", 1, REFERENCE_PARALLEL),))
    built = workload(trace, monolith, (monolith.costs(monolith.pools[0]),), objectives)
    return np.asarray(built.requests.deadline_s - built.requests.arrival_s, np.float64)


def set_batches(run: Simulation, kinds: Sequence[Kind | None]) -> None:
    """Give the pools of a run that has not begun the batch of their kind, one each: sequences, or jobs of an encoder's
    step; those without a kind keep their own.
    """
    for kind, record in zip(kinds, run.state.pools, strict=True):
        if kind is not None and kind.stages == "E":
            record.max_step_jobs = min(kind.batch, run.state.slots.shape[1])
        elif kind is not None:
            record.max_sequences = min(kind.batch, run.state.slots.shape[1])


def plan_policies(model: str, gpu: str, monolith: bool) -> Policies:
    """The policies that plans are measured and replayed with: vLLM's on a monolith, ModServe's elsewhere.

    Work goes where it is predicted to be done first: fleets of unlike instances would drown the slow ones otherwise.
    """
    chosen = preset("vllm" if monolith else "modserve", model, gpu, 16).policies
    first = PolicyChoice("predicted_completion")
    return replace(chosen, routing=first, encode_routing=first)


def _pool(kind: Kind, instances: int = 1) -> Pool:
    return Pool(kind.stages, instances, kind.tensor_parallel, "transformers" if kind.stages == "E" else "vllm")


def _cluster(model: str, kind: Kind, instances: int = 1) -> Cluster:
    """A pool of the kind alone in its class, plenty of everything else."""
    encoders, rest = max(32, 12 * instances), max(16, 4 * instances)
    others = {each: Pool(each, rest, 4) for each in ("D", "EP", "ED", "P", "PD")}
    others["E"] = Pool("E", encoders, 1, "transformers")
    mine = _pool(kind, instances)
    return Cluster(
        model, kind.gpu, tuple(mine if each == kind.stages else others[each] for each in TOPOLOGY_OF[kind.stages])
    )
