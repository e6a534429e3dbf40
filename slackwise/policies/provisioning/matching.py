"""Provisioning by rate matching: counts whose stages serve the same rate, at the most requests a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slackwise.policies.declare import Params, provisioning_policy
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.knobs import Range
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, keep


@provisioning_policy(
    source="AIConfigurator 2026, sweep of worker counts; its sweep of TP and batch is the configuration's here",
    every_s=300.0,
    f_encode=Range(0.8, 1.0, default=0.9),
    f_prefill=Range(0.8, 1.0, default=0.9),
    f_decode=Range(0.8, 1.0, default=0.92),
    window_s=Range(60.0, 3600.0, default=3600.0, log=True),
)
def rate_match_sweep(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """The ratio of counts that serves most requests a GPU, repeated until the GPUs are used up.

    Formula: maximise min_s(N_s * m_s * f_s) / sum_s(N_s * GPUs of an instance) [requests/s a GPU] over all counts
    within the GPUs, m_s = M_s / (tokens a request brings to the pool, over `window_s`); M_s keeps the objectives. At
    equal ratios the larger fleet; then as many whole copies as the GPUs allow.

    Trade-offs: the best static ratio for the mix of modalities of the last hour; blind to the total load, so all GPUs
    are held, and to queueing but for M_s and the factors `f_encode`, `f_prefill`, `f_decode`.
    """
    window_s = float(params[3])
    requests = [_requests_per_s(pool, window_s) * _factor(pool, params) for pool in pools]
    if not all(0 < each < math.inf for each in requests):
        return keep(pools)
    best = max(_candidates(pools, requests), key=lambda counts: _worth(pools, requests, counts), default=None)
    if best is None:
        return keep(pools)
    copies = max(1, pools[0].gpu_cap // _gpus(pools, best))
    return Plan(tuple(min(pool.most, copies * count) for pool, count in zip(pools, best, strict=True)))


def _requests_per_s(pool: PoolView, window_s: float) -> float:
    """[m_s] requests/s of the present mix that one instance serves; infinite if they bring nothing here."""
    rates = pool.rates_over(window_s)
    load = pool.load_tokens_per_s(rates)
    arriving = rates.text_requests_per_s + rates.image_requests_per_s
    return pool.capacity_tokens_per_s * arriving / load if load > 0 else math.inf if arriving > 0 else 0.0


def _factor(pool: PoolView, params: Params) -> float:
    """[f_s] how much of the capacity is reached."""
    encode, prefill, decode = (float(each) for each in params[:3])
    if pool.stages & PREFILL:
        return prefill
    return encode if pool.stages & ENCODE and not pool.stages & DECODE else min(encode, decode)


def _candidates(pools: Sequence[PoolView], requests: list[float]) -> list[tuple[int, ...]]:
    """For each count of each pool as the narrowest, the fewest of all others that keep up, if the GPUs suffice."""
    found = set()
    for pool, each in zip(pools, requests, strict=True):
        for count in range(1, min(pool.most, pools[0].gpu_cap // pool.gpus_per_instance) + 1):
            rate = count * each * (1 - 1e-12)
            counts = tuple(max(1, math.ceil(rate / other)) for other in requests)
            if _gpus(pools, counts) <= pools[0].gpu_cap and _within(pools, counts):
                found.add(counts)
    return sorted(found)


def _within(pools: Sequence[PoolView], counts: tuple[int, ...]) -> bool:
    return all(count <= pool.most for pool, count in zip(pools, counts, strict=True))


def _worth(pools: Sequence[PoolView], requests: list[float], counts: tuple[int, ...]) -> tuple[float, int]:
    """(requests/s a GPU, GPUs)."""
    served = min(count * each for count, each in zip(counts, requests, strict=True))
    return round(served / _gpus(pools, counts), 12), _gpus(pools, counts)


def _gpus(pools: Sequence[PoolView], counts: tuple[int, ...]) -> int:
    return sum(count * pool.gpus_per_instance for pool, count in zip(pools, counts, strict=True))
