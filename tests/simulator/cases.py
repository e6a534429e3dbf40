"""Cases for tests of the simulator: small traces by hand, and random ones that reach every corner of the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from slackwise.latency.rules import UNLIMITED
from slackwise.policies.bundle import ROLES as FAMILIES
from slackwise.policies.bundle import Policies, PolicyChoice
from slackwise.policies.knobs import Choice, IntRange, Range, Value
from slackwise.policies.registry import find, policies
from slackwise.simulator import Cluster, Configuration, Objectives, Pool, Simulation
from slackwise.simulator.faults import FAULTS, NO_FAULTS, Fault, Faults
from slackwise.simulator.placement import PLACEMENTS
from slackwise.simulator.state import DRAIN, RECALL, RESERVE, ROLES, START
from slackwise.streams import stream
from slackwise.traces import Trace

CROSS_ATTENTION, DECODER_ONLY = "Llama-3.2-11B-Vision", "InternVL2.5-26B"
"""A model whose images stay outside the LLM's sequence, and one whose images are part of it."""

GPU = "A100-80GB"
PLAIN = {"routing": "least_requests", "batching": "fcfs", "chunking": "none", "admission": "admit_all"}
FAMILY = {role: FAMILIES[role] for role in ROLES}
TOPOLOGIES = ("monolith", "E+PD", "EP+D", "ED+P", "E+P+D")
OBJECTIVES = Objectives(text_ttft_s=0.3, image_ttft_s=0.6, text_tbt_s=0.05, image_tbt_s=0.05)
ENGINES = ("vllm", "vllm-0.7", "transformers")


def trace_of(rows: list[tuple[float, int, int, int]]) -> Trace:
    """A trace of (arrival_s, images, context tokens, output tokens)."""
    columns = list(zip(*rows, strict=True))
    counts = [np.array(column, np.int32) for column in columns[1:]]
    return Trace(np.array(columns[0], float), counts[0], counts[1], counts[2], image_count="raw")


def policies_of(**names: str | PolicyChoice) -> Policies:
    """Policies by role; what is not named is the plainest there is."""
    plain = {role: PLAIN[FAMILY[role]] for role in ROLES}
    return Policies(**{role: _choice(each) for role, each in (plain | names).items()})


def configuration(cluster: Cluster, **names: str | PolicyChoice) -> Configuration:
    """A configuration of `cluster` with `policies_of(**names)`."""
    return Configuration("test", cluster, policies_of(**names))


def monolith(model: str = CROSS_ATTENTION, engine: str = "vllm", instances: int = 1) -> Cluster:
    """Monoliths of 4 GPUs."""
    return Cluster(model, GPU, (Pool("EPD", instances, 4, engine),))


def apart(
    model: str = CROSS_ATTENTION, engine: str = "vllm", encoders: int = 1, llms: int = 1, encoder: str = "transformers"
) -> Cluster:
    """Encoders of 1 GPU beside LLM instances of 4."""
    return Cluster(model, GPU, (Pool("E", encoders, 1, encoder), Pool("PD", llms, 4, engine)))


@dataclass(frozen=True)
class Shape:
    """The structural choices of a random case; the rest hangs on its seed."""

    topology: str = "E+PD"
    model: str = DECODER_ONLY
    engine: str = "vllm"
    encoder: str = "transformers"
    requests: int = 20
    chatty: bool = False  # short prompts with long answers, which fill the KV cache by decoding
    scarce: bool = False  # small KV cache, few sequences, small budgets
    bursts: bool = False  # many arrivals at one time
    fleet: int = 3  # instances of a pool, at most
    changing: bool = False  # instances are started, drained, called back and exchanged all the time
    odd_costs: bool = False  # step costs unlike any GPU's, instances of unlike predictions
    repeats: bool = False  # half of the requests repeat an earlier one, and instances keep what they have computed
    names: Mapping[str, str] = field(default_factory=dict)  # policies by role; the rest is random
    admission: str = "admit_all"
    troubled: bool = False  # instances crash, steps and links are slow, transfers get lost, routers see late records


def random_simulation(shape: Shape, seed: int, more_tokens: int = 0) -> Simulation:
    """A simulation of a random workload on a random cluster under random policies and limits.

    `more_tokens` lengthens every output and changes nothing else, unless `shape` is scarce: memory goes by the largest.
    """
    generator = stream(seed, "test case")
    pools = random_pools(shape, generator)
    names = {"admission": shape.admission, **shape.names}
    chosen = {role: names.get(role) or _any(FAMILY[role], generator) for role in ROLES}
    settled = {role: random_choice(FAMILY[role], name, generator) for role, name in chosen.items()}
    if chosen["admission"] == "bounded_queue":
        settled["admission"] = small_queue(generator)
    surroundings, faults = random_surroundings(stream(seed, "test servers")), NO_FAULTS
    if shape.troubled:
        faults = random_faults(stream(seed, "test faults"))
        surroundings |= {"overlap_tokens": 0}
    cluster = Cluster(shape.model, GPU, pools, **surroundings)
    if shape.repeats:
        cluster = replace(cluster, **random_caches(stream(seed, "test caches")))
    trace = random_trace(shape, generator)
    if shape.repeats:
        trace = with_repeats(trace, stream(seed, "test repeats"))
    trace = replace(trace, output_tokens=trace.output_tokens + np.int32(more_tokens))
    made = Simulation(trace, Configuration("random", cluster, Policies(**settled), faults=faults), OBJECTIVES, seed)
    if shape.troubled:
        made.inject(random_events(made, stream(seed, "test events")))
    made.state.requests.estimate_sigma = generator.uniform(0.0, 1.0, len(made.state.requests))
    if shape.scarce:
        make_scarce(made, generator)
    if shape.odd_costs:
        make_odd(made, generator)
    if shape.changing:
        give_orders(made, generator)
    return made


def small_queue(generator: np.random.Generator) -> PolicyChoice:
    """Limits that a test's few requests reach."""
    return PolicyChoice("bounded_queue", {"waiting": int(generator.integers(1, 6)), "backlog": generator.exponential()})


def random_faults(generator: np.random.Generator) -> Faults:
    """What goes wrong all through a run."""
    every_s, sigma = float(generator.choice([0.0, 0.0, 0.05, 0.5])), float(generator.choice([0.0, 0.8]))
    return Faults(
        retries=int(generator.choice([0, 1, 1000])),
        loss=float(generator.choice([0.0, 0.2, 0.5])),
        timeout_s=float(generator.choice([0.01, 0.5])),
        tries=int(generator.integers(1, 5)),
        metrics_every_s=every_s,
        metrics_delay_s=float(generator.uniform(0.0, 3.0 * every_s)),
        estimate_sigma=sigma,
        estimate_bias=float(generator.choice([0.0, 0.5])),
    )


def random_events(made: Simulation, generator: np.random.Generator) -> list[Fault]:
    """Crashes and slow spells at random times while requests arrive and shortly after."""
    arrival_s = made.state.requests.arrival_s
    first_s, span_s = float(arrival_s[0]), float(arrival_s[-1] - arrival_s[0]) + 1.0
    events = []
    for _ in range(int(generator.integers(1, 12))):
        instance, kind = int(generator.integers(len(made.state.instances))), str(generator.choice(list(FAULTS)))
        seconds, factor = float(generator.exponential(0.5 * span_s)) + 1e-3, float(generator.uniform(0.5, 5.0))
        events.append(Fault(first_s + float(generator.uniform(0.0, 1.2)) * span_s, instance, kind, seconds, factor))
    return events


def give_orders(made: Simulation, generator: np.random.Generator) -> None:
    """Orders of every kind at random times, many at one time; in the end the first instance of each pool is there."""
    state = made.state
    span_s = float(state.requests.arrival_s[-1]) + 1.0
    times = np.sort(generator.uniform(0, span_s, 12))
    first = [int(np.flatnonzero(state.engines.pool == pool)[0]) for pool in range(len(state.pools))]
    for at_s in times:
        for _ in range(generator.integers(1, 4)):
            instance = int(generator.integers(len(state.instances)))
            kind = int(generator.choice([START, DRAIN, DRAIN, RECALL]))
            seconds = float(generator.choice([0.0, 0.1, 1.0]))
            made.order(kind, instance, seconds, at_s=float(at_s))
        if generator.random() < 0.3:
            exchange_some(made, generator, float(at_s), first)
    for late_s in (span_s, span_s + 5.0):
        for instance in first:
            made.order(RECALL, instance, at_s=late_s)
            made.order(START, instance, 0.5, at_s=late_s)


def exchange_some(made: Simulation, generator: np.random.Generator, at_s: float, spared: list[int]) -> None:
    """A role switch between random instances, one for two, two for one or one for one, that may not be possible."""
    others = [each for each in range(len(made.state.instances)) if each not in spared]
    if len(others) < 3:
        return
    picked = generator.permutation(others)[:3].tolist()
    leaving, coming = [(picked[:2], picked[2:]), (picked[:1], picked[1:]), (picked[:1], picked[1:2])][
        int(generator.integers(3))
    ]
    for place, instance in reversed(list(enumerate(coming))):
        following = coming[place + 1] if place + 1 < len(coming) else -1
        made.order(RESERVE, instance, 0.3, following, len(leaving), at_s=at_s)
    for instance in leaving:
        made.order(DRAIN, instance, other=coming[0], at_s=at_s)


def random_pools(shape: Shape, generator: np.random.Generator) -> tuple[Pool, ...]:
    """One to three instances of each kind of the topology; now and then a kind has a second pool of other GPUs."""
    pools = []
    for kind in topology_kinds(shape.topology):
        engine, parallel = (shape.encoder, 1) if kind == "E" else (shape.engine, 4)
        count = int(generator.integers(1, shape.fleet + 1))
        pools.append(Pool(kind, count, parallel, engine, most=count + 2 if shape.changing else None))
        if generator.random() < 0.2:
            pools.append(Pool(kind, 1, 2 * parallel, engine))
    return tuple(pools)


def random_surroundings(generator: np.random.Generator) -> dict[str, Any]:
    """How servers are joined, how instances stand on them, and what is before them."""
    link, placement = generator.choice(["infiniband", "tcp"]), generator.choice(list(PLACEMENTS))
    workers = int(generator.choice([0, 0, 0, 0, 1, 4]))
    overlap = int(generator.choice([0, 0, 0, 1, 600, 2000]))
    return {
        "link": str(link),
        "placement": str(placement),
        "preprocess_workers": workers,
        "overlap_tokens": overlap,
    }


def random_caches(generator: np.random.Generator) -> dict[str, Any]:
    """Within which time requests repeat one another, and what is kept for them."""
    small, large, prefixes = (1e3, 7000, 9000), (10.0, 10**6, 0), (1e3, 0, 30_000)
    window_s, embeddings, prefix = (small, large, prefixes)[generator.integers(3)]
    return {
        "repeat_window_s": float(window_s),
        "embedding_cache_tokens": int(embeddings),
        "prefix_cache_tokens": int(prefix),
    }


def with_repeats(trace: Trace, generator: np.random.Generator) -> Trace:
    """The trace with the images and context of an earlier request in half of its rows."""
    rows = np.arange(len(trace))
    earlier = np.where(generator.random(len(trace)) < 0.5, generator.integers(0, rows + 1), rows)
    images, context = trace.images[earlier], trace.context_tokens[earlier]
    return Trace(trace.arrival_s, images, context, trace.output_tokens, image_count="raw")


def topology_kinds(topology: str) -> list[str]:
    """Kinds of the pools of a topology, in order."""
    return ["EPD"] if topology == "monolith" else topology.split("+")


def random_trace(shape: Shape, generator: np.random.Generator) -> Trace:
    """`shape.requests` requests at any load; in bursts several come at the very same time."""
    count, rate = shape.requests, 10 ** generator.uniform(-0.5, 2)
    arrival = np.cumsum(generator.exponential(1 / rate, count))
    if shape.bursts:
        arrival = np.floor(arrival * rate / 4) * 4 / rate
    image_share, context_tokens, output_tokens = (0.03, 60, 200) if shape.chatty else (0.6, 6000, 80)
    images = np.where(generator.random(count) < image_share, np.minimum(generator.geometric(0.3, count), 12), 0)
    context = np.exp(generator.uniform(0, np.log(context_tokens), count))
    output = np.exp(generator.uniform(0, np.log(output_tokens), count))
    counts = [column.astype(np.int32) for column in (images, context, output)]
    return Trace(arrival - arrival[0], counts[0], counts[1], counts[2], image_count="raw")


def make_scarce(made: Simulation, generator: np.random.Generator) -> None:
    """Leave little KV cache, few sequences and small budgets, of which the largest request still fits each."""
    state = made.state
    needed = needed_tokens(made)
    watermark = int(generator.integers(0, 100))
    capacity = watermark + int(needed * generator.uniform(1.0, 2.5))
    shrink_memory(made, capacity - watermark - needed, watermark)
    state.pools.max_sequences = generator.integers(1, 12)
    state.pools.max_step_tokens = int(np.exp(generator.uniform(np.log(40), np.log(3000))))
    state.pools.max_chunk_tokens = int(generator.choice([64, 700, 1 << 30]))
    state.pools.encoder_budget_tokens = int(generator.choice([1, 2000, 10000]))
    limited = state.pools.encoder_cache_tokens < UNLIMITED
    state.pools.encoder_cache_tokens[limited] = (1, 3000, UNLIMITED)[watermark % 3]
    state.pools.max_step_jobs = generator.integers(1, 5)
    rules = state.pools[state.engines.pool]
    state.instances.token_budget_left = rules.max_step_tokens
    state.instances.encoder_budget_left = rules.encoder_budget_tokens


def needed_tokens(made: Simulation) -> int:
    """KV tokens of the largest request at its end."""
    requests, progress = made.state.requests, made.state.progress
    return int((requests.prompt_tokens + progress.image_kv_tokens + progress.output_tokens).max())


def shrink_memory(made: Simulation, spare_tokens: int, watermark_tokens: int = 0) -> None:
    """Leave KV cache for the largest request, the watermark and `spare_tokens` more."""
    instances = made.state.instances
    capacity = needed_tokens(made) + watermark_tokens + spare_tokens
    instances.kv_capacity_tokens[instances.kv_capacity_tokens > 0] = capacity
    made.state.pools.watermark_tokens = watermark_tokens


def make_odd(made: Simulation, generator: np.random.Generator) -> None:
    """Draw every cost anew within a factor of 5, leave one out now and then, and predict unlike instances."""
    state = made.state
    for pool in range(len(state.pools)):
        for name in ("step_s", "kv_s_per_token", "attention_s_per_pair", "encode_step_s", "encode_s_per_tile"):
            state.costs[name][pool] *= 5 ** generator.uniform(-1, 1)
        state.costs.kv_s_per_token[pool] *= generator.random() < 0.7
        state.costs.text_only_share[pool] = generator.uniform(0.5, 1.0)
        state.pools.linear_s[pool] *= 5 ** generator.uniform(-1, 1)
    for name in ("encode_s_per_tile", "prefill_s_per_token"):
        state.instances[name] *= generator.uniform(0.5, 2.0, len(state.instances))


def random_choice(family: str, name: str, generator: np.random.Generator) -> PolicyChoice:
    """A policy with random knobs, each within its range."""
    knobs = find(family, name).knobs
    return PolicyChoice(name, {knob: _value(each, generator) for knob, each in knobs.items()})


def _value(knob: Any, generator: np.random.Generator) -> Value:
    if isinstance(knob, Choice):
        return str(generator.choice(knob.names))
    assert isinstance(knob, Range)
    if knob.none and generator.random() < 0.3:
        return None
    if generator.random() < 0.2:
        return knob.default
    if isinstance(knob, IntRange):
        return int(generator.integers(knob.low, knob.high + 1))
    return float(generator.uniform(knob.low, knob.high))


def _any(family: str, generator: np.random.Generator) -> str:
    return str(generator.choice([policy.name for policy in policies(family)]))


def _choice(each: str | PolicyChoice) -> PolicyChoice:
    return PolicyChoice(each) if isinstance(each, str) else each
