"""A state filled in from a configuration: pools, instances, groups, links; requests that no instance can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.latency.alone import marginal_prefill_seconds
from slackwise.latency.costs import StepCosts
from slackwise.latency.model import load_model
from slackwise.latency.transfer import INSIDE, LINKS
from slackwise.policies.declare import Params, Policy
from slackwise.policies.features import DECODE, ENCODE, KINDS, PREFILL
from slackwise.simulator.cluster import Cluster, Pool
from slackwise.simulator.fleet import count_ready
from slackwise.simulator.objectives import Objectives
from slackwise.simulator.state import (
    DECODING,
    ENCODING,
    PREFILLING,
    READY,
    TABLE,
    State,
)
from slackwise.simulator.workload import Workload


def too_large(work: Workload, cluster: Cluster, costs: tuple[StepCosts, ...]) -> Any:
    """Requests whose prompt, images and output exceed the KV cache of some instance, bool, shape (n,)."""
    usable = [
        _kv_tokens(cluster, pool, cost) - _watermark(pool, cost)
        for pool, cost in zip(cluster.pools, costs, strict=True)
        if KINDS[pool.stages] & (PREFILL | DECODE)
    ]
    needed = work.requests.prompt_tokens.astype(np.int64) + work.progress.image_kv_tokens + work.progress.output_tokens
    return np.asarray(needed > min(usable))


def _kv_tokens(cluster: Cluster, pool: Pool, cost: StepCosts) -> int:
    """KV cache of an instance less what it sets aside for prompts that come again; InputError if nothing is left."""
    aside = cluster.prefix_cache_tokens if KINDS[pool.stages] & PREFILL else 0
    if aside >= cost.kv_capacity_tokens:
        raise InputError(
            f"prefix_cache_tokens = {aside} leaves nothing of {cost.kv_capacity_tokens} tokens of KV cache"
        )
    return cost.kv_capacity_tokens - aside


def _watermark(pool: Pool, cost: StepCosts) -> int:
    """KV tokens that admission leaves free."""
    return int(np.ceil(pool.rules.watermark * cost.kv_capacity_tokens))


def without(work: Workload, rejected: Any) -> Workload:
    """The workload without the rejected requests; the same object if there are none."""
    if not rejected.any():
        return work
    kept = Workload(work.requests[~rejected], work.progress[~rejected])
    kept.requests.id = np.arange(len(kept.requests))
    return kept


def _table(cost: StepCosts) -> Any:
    """The table of linear-layer seconds at the kernel's length: cut, or going on with its slope."""
    own = len(cost.linear_s)
    beyond = cost.linear_s[-1] + cost.record["linear_slope_s"] * np.arange(1, max(1, TABLE - own + 1))
    return np.concatenate([cost.linear_s, beyond])[:TABLE]


def fill_pools(
    state: State, cluster: Cluster, costs: tuple[StepCosts, ...], decisions: list[tuple[Policy, Params]]
) -> None:
    (job_batching, job_params), (batching, params) = decisions[1], decisions[4]
    state.clock[0].overlap_tokens = _overlap_tokens(cluster)
    model = load_model(cluster.model)
    for at, pool in enumerate(cluster.pools):
        rules, record, bits = pool.rules, state.pools[at], KINDS[pool.stages]
        record.stages = bits
        record.max_sequences, record.max_step_tokens = rules.max_sequences, rules.max_step_tokens
        record.encoder_budget_tokens = rules.encoder_tokens(model)
        record.encoder_cache_tokens = rules.encoder_cache(model)
        record.cache_tokens = _cache_tokens(cluster, bits)
        record.max_chunk_tokens = rules.max_chunk_tokens
        record.max_step_jobs = min(rules.max_step_jobs, state.slots.shape[1])
        record.prefill_first = rules.prefill_first and bool(bits & PREFILL)
        record.fixed_order = batching.fixed_order(params) and not _overlap_moves(batching, ENCODED, cluster)
        record.fixed_job_order = _ranked_once(job_batching, job_params)
        record.fixed_job_order &= not _overlap_moves(job_batching, PREFILLED, cluster)
        record.ranks_estimates = "request.encode_estimate_s" in job_batching.inputs
        record.watermark_tokens = _watermark(pool, costs[at])
        record.linear_s = _table(costs[at])
        state.costs[at] = costs[at].record


def _cache_tokens(cluster: Cluster, stages: int) -> int:
    """Capacity of the cache of an instance: of prompts where it prefills, else of embeddings where it encodes."""
    if stages & PREFILL:
        return cluster.prefix_cache_tokens
    return cluster.embedding_cache_tokens if stages & ENCODE else 0


def _overlap_tokens(cluster: Cluster) -> int:
    """Smallest chunk of encode-prefill overlap; 0 where there is none: models with cross-attention need all images."""
    return 0 if load_model(cluster.model).cross_attention else cluster.overlap_tokens


ENCODED = {"request.encode_estimate_s", "request.images_left", "request.transfer_estimate_s"}
PREFILLED = {"request.prefill_estimate_s", "request.prompt_tokens_left"}
"""Features that change as a request is encoded, and as it is prefilled."""


def _overlap_moves(batching: Policy, changing: set[str], cluster: Cluster) -> bool:
    """Whether a rank hangs on what changes in the queue: overlap encodes and prefills a request at one time."""
    return _overlap_tokens(cluster) > 0 and bool(changing & set(batching.inputs))


def _ranked_once(batching: Policy, params: Params) -> bool:
    """Whether a queue of encode jobs may keep the ranks it has: `images_left` falls while a request's jobs still wait.

    The kernel itself ranks them anew only when the encode estimate has changed.
    """
    return batching.fixed_order(params) and "request.images_left" not in batching.inputs


def _fill_groups(state: State) -> None:
    """Ranges of the instances that encode apart, prefill, and decode apart."""
    kinds = state.instances.stages
    encodes, prefills, decodes = ((kinds & bit) > 0 for bit in (ENCODE, PREFILL, DECODE))
    apart = {ENCODING: encodes & ~prefills, PREFILLING: prefills, DECODING: decodes & ~prefills}
    for group, members in apart.items():
        state.groups[group].count = int(members.sum())
        state.groups[group].first = int(np.argmax(members))
    count_ready(state)


def _fill_links(state: State, cluster: Cluster) -> None:
    """Seconds to move a KV cache from prefill to decode, between servers and within one."""
    kv_bytes, clock = load_model(cluster.model).language.kv_bytes_per_token, state.clock[0]
    for prefix, link in (("", LINKS[cluster.link]), ("near_", LINKS[INSIDE])):
        clock[f"{prefix}kv_link_s"], clock[f"{prefix}kv_link_s_per_token"] = link.latency_s, kv_bytes / link.bytes_s


def fill_instances(state: State, cluster: Cluster, costs: tuple[StepCosts, ...], objectives: Objectives) -> None:
    first = 0
    for at, pool in enumerate(cluster.pools):
        record, cost = state.pools[at], costs[at]
        rows = slice(first, first + pool.ceiling)
        state.engines.status[first : first + pool.instances] = READY
        first += pool.ceiling
        seen, engine = state.instances[rows], state.engines[rows]
        seen.stages, seen.tensor_parallel = record.stages, pool.tensor_parallel
        seen.encode_s_per_tile = cost.record["encode_s_per_tile"]
        seen.prefill_s_per_token = marginal_prefill_seconds(cost)
        seen.tightest_ttft_s = objectives.tightest_ttft_s
        seen.kv_capacity_tokens = _kv_tokens(cluster, pool, cost) if record.stages & (PREFILL | DECODE) else 0
        seen.token_budget_left, seen.encoder_budget_left = record.max_step_tokens, record.encoder_budget_tokens
        engine.pool, engine.step_end_s = at, np.inf
    _fill_groups(state)
    _fill_links(state, cluster)
    state.engines.server = cluster.placed_most
