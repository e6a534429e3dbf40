"""The numbers people read: TTFT, TBT, attainment and goodput by class, GPU-seconds, utilisation."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator.fairness import fairness, starvation
from slackwise.simulator.result import Result, tbt_quantile_s
from slackwise.simulator.state import CLASSES

QUANTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}


def summary(result: Result) -> dict[str, Any]:
    """All metrics of a run, ready for JSON (None where a number does not exist): the fleet, then each class.

    `ttft_s` and `end_to_end_s` over requests, `tbt_s` over tokens, `attainment` = share of requests that met both
    objectives, `goodput_rps` = those per second; `stages` = seconds in each stage (stages.STAGES) over the requests
    that passed it; `stage_utilisation` = shares of the instances' time by what their steps did; `starvation` and
    `fairness` as in fairness.py.
    """
    classes = {"all": np.ones(len(result.arrival_s), bool)}
    classes |= {name: result.category == at for at, name in enumerate(CLASSES)}
    found = {
        "requests": len(result.arrival_s),
        "rejected": int(result.rejected.sum()),
        "failed": result.failed,
        "verdict": asdict(result.verdict),
        "preemptions": result.preemptions,
        "span_s": result.span_s,
        "gpu_s": result.gpu_s,
        "gpu_hours": result.gpu_s / 3600,
        "utilisation": result.busy,
        "encode_utilisation": result.encode_busy,
        "preprocess": _preprocess(result),
        "stage_utilisation": stage_utilisation(result),
        "starvation": starvation(result),
        "fairness": fairness(result),
        "warm_up": {"seconds": result.warm_up_s, "requests": result.warm_up_requests},
        "reused": {"jobs": result.jobs_reused, "prefixes": result.prefixes_reused},
        "classes": {name: class_metrics(result, name, rows) for name, rows in classes.items() if rows.any()},
    }
    return found | {"fleet": fleet_metrics(result)} if result.fleet else found


def fleet_metrics(result: Result) -> dict[str, Any]:
    """What provisioning did: turns taken, instances started (or called back), drained (or called off), switched.

    `ready` are the fewest and the most ready instances of each pool (the second of a kind
    has a prime) at any turn; `timeline` the turns at which
    the fleet looked other than at the one before.
    """
    turns = result.fleet
    kinds = [kind + "'" * result.pools[:at].count(kind) for at, kind in enumerate(result.pools)]
    rows = [asdict(turn) for turn in turns]
    looks = [(turn.targets, turn.ready, turn.starting, turn.draining, turn.gpus) for turn in turns]
    changed = [at for at, look in enumerate(looks) if at == 0 or look != looks[at - 1]]
    ready = list(zip(*(turn.ready for turn in turns), strict=True))
    return {
        "turns": len(turns),
        **{name: sum(row[name] for row in rows) for name in ("started", "drained", "switched")},
        "ready": {kind: [min(counts), max(counts)] for kind, counts in zip(kinds, ready, strict=True)},
        "timeline": [rows[at] for at in changed],
    }


def class_metrics(result: Result, name: str, rows: NDArray[np.bool_]) -> dict[str, Any]:
    """Metrics of the requests in `rows`, bool, shape (n,); `name` is "all" or one of CLASSES."""
    tokens = result.tbt_tokens.sum(axis=0) if name == "all" else result.tbt_tokens[CLASSES.index(name)]
    gaps, served = np.maximum(0, result.output_tokens[rows] - 1), result.served[rows]
    between = float((result.tbt_s[rows][served] * gaps[served]).sum() / max(1, gaps[served].sum()))
    tbt = {"mean": between} | {key: tbt_quantile_s(tokens, value) for key, value in QUANTILES.items()}
    return {
        "requests": int(rows.sum()),
        "ttft_s": _distribution(result.ttft_s[rows]),
        "tbt_s": {key: _finite(value) for key, value in tbt.items()},
        "end_to_end_s": _distribution(result.end_to_end_s[rows]),
        "stages": {stage: _passed(seconds[rows]) for stage, seconds in result.stages.items()},
        "attainment": float(result.met[rows].mean()),
        "goodput_rps": float(result.met[rows].sum() / result.span_s),
        "output_tokens_per_s": float(result.output_tokens[rows][served].sum() / result.span_s),
    }


def _preprocess(result: Result) -> dict[str, Any] | None:
    """CPU preprocessing of the requests with images, in seconds; None if it takes no time."""
    rows = (result.category > 0) & ~result.rejected
    if not result.preprocess_s.any():
        return None
    return {
        "seconds": _distribution(result.preprocess_s[rows]),
        "queued_s": _distribution(result.preprocess_wait_s[rows]),
    }


def stage_utilisation(result: Result) -> dict[str, dict[str, float]]:
    """Shares of the time of each kind of instances: the encode part of steps; the rest of those that compute prompts,
    decodes beside them included; steps that only decode; idle."""
    found = {}
    for kind, busy in result.busy.items():
        encode, prefill = result.encode_busy[kind], result.prefill_busy[kind]
        decode = max(0.0, busy - encode - prefill)
        found[kind] = {"encode": encode, "prefill": prefill, "decode": decode, "idle": max(0.0, 1.0 - busy)}
    return found


def _passed(seconds: NDArray[np.float64]) -> dict[str, Any] | None:
    """Distribution over the requests that passed a stage, and how many did; None if nobody did."""
    passed = seconds[~np.isnan(seconds)]
    return {"requests": len(passed)} | _distribution(passed) if len(passed) else None


def _distribution(values: NDArray[np.float64]) -> dict[str, float | None]:
    quantiles = np.quantile(values, list(QUANTILES.values()), method="higher")
    found = {"mean": values.mean()} | dict(zip(QUANTILES, quantiles, strict=True))
    return {key: _finite(float(value)) for key, value in found.items()}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
