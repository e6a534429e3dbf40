"""Fits step costs to measurements: robust to outliers, and refused when the measurements cannot tell.

    seconds = step + sqrt((slope * tokens)^2 + knee^2) - knee + kv * context + attention * pairs      (if any token)
            + encode_step + encode_tile * tiles                                                       (if any tile)

The knee is where compute overtakes the reading of weights, which `step` contains. Every constant is 0 or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.latency.costs import COSTS, StepCosts
from slackwise.latency.measured import Steps
from slackwise.latency.roofline import TABLE_TOKENS
from slackwise.optional import require
from slackwise.streams import stream

LANGUAGE = ("step", "slope", "knee", "kv", "attention")
ENCODER = ("encode_step", "encode_tile")
GROWING = {"slope": "prompt tokens", "kv": "context tokens", "encode_tile": "tiles"}
"""Constants that must be above 0, and what the step must take longer with."""

TELLING = {
    "step": "decode steps of small batches",
    "slope": "prompts several times longer",
    "knee": "prompts of few tokens and of many, so that weights and compute show",
    "kv": "decode steps of large batches at long contexts",
    "attention": "prompts so long that attention shows, or chunks of prompts already begun",
    "encode_step": "encoder steps of one tile",
    "encode_tile": "encoder steps of many tiles",
}
"""The measurements that tell a constant from the others."""

SPREAD = 0.05
"""Relative error that the robust loss takes for ordinary (soft L1 beyond)."""

WORST_CONDITION = 1e5
"""Condition number of the scaled Jacobian above which constants cannot be told apart."""

FOLDS = 5


@dataclass(frozen=True)
class Fit:
    """A fitted latency model and its relative errors, predicted / measured - 1."""

    constants: Mapping[str, float]  # seconds; a stage that was not measured has none
    errors: NDArray[np.float64]  # (n,) in sample
    cross_validated_mape: float
    cross_validated_p90: float
    source: str
    instance: Mapping[str, str] = field(default_factory=dict)  # GPU, model, engine, tensor_parallel, where known
    held_errors: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # (n,) cross-validated


def fit_steps(steps: Steps, seed: int = 0) -> Fit:
    """Fit `steps`; folds of the cross-validation are drawn from the stream "calibrate".

    Raises InputError when measurements that a constant needs are missing (naming them), when two constants cannot be
    told apart, or when the step would not take longer with more work. The knee is 0 where the measurements show none.
    """
    names = _measured_constants(steps)
    constants, jacobian = _solve(steps, names)
    if _mixed_up(names, jacobian) == {"step", "knee"}:  # no knee in sight: a line says it all, with step for both
        names.remove("knee")
        constants, jacobian = _solve(steps, names)
    _check_told_apart(names, jacobian)
    _check_monotone(constants)
    held = _cross_validate(steps, names, seed)
    return Fit(
        constants={name: constants.get(name, 0.0) for name in _whole_stages(names)},
        errors=predict(steps, constants) / steps.seconds - 1,
        cross_validated_mape=float(np.mean(np.abs(held))),
        cross_validated_p90=float(np.quantile(np.abs(held), 0.9)),
        source=steps.source,
        instance=dict(steps.instance),
        held_errors=held,
    )


def predict(steps: Steps, constants: Mapping[str, float]) -> NDArray[np.float64]:
    """Seconds of `steps` under `constants`."""
    value = {name: constants.get(name, 0.0) for name in (*LANGUAGE, *ENCODER)}
    text = value["step"] + _linear(steps.tokens, value)
    text = text + value["kv"] * steps.context_tokens + value["attention"] * steps.pairs
    encode = value["encode_step"] + value["encode_tile"] * steps.tiles
    return np.asarray(np.where(steps.tokens > 0, text, 0.0) + np.where(steps.tiles > 0, encode, 0.0))


def step_costs(fit: Fit, kv_capacity_tokens: int, load_s: float) -> StepCosts:
    """The fitted model as the simulator asks it. Raises InputError unless capacity and load time are 0 or more."""
    check_instance(kv_capacity_tokens, load_s)
    value = {name: fit.constants.get(name, 0.0) for name in (*LANGUAGE, *ENCODER)}
    table = _linear(np.arange(TABLE_TOKENS + 1, dtype=np.float64), value)
    record = np.zeros(1, COSTS)
    record["step_s"], record["linear_slope_s"] = value["step"], table[-1] - table[-2]
    record["kv_s_per_token"], record["attention_s_per_pair"] = value["kv"], value["attention"]
    record["encode_step_s"], record["encode_s_per_tile"] = value["encode_step"], value["encode_tile"]
    record["text_only_share"] = 1.0
    return StepCosts(record.view(np.recarray)[0], table, kv_capacity_tokens, load_s, fit.source)


def check_instance(kv_capacity_tokens: int, load_s: float) -> None:
    """Raise InputError unless the capacity and the load time of an instance are numbers of 0 or more."""
    if not (kv_capacity_tokens >= 0 and 0 <= load_s < inf):
        raise InputError(
            f"kv_capacity_tokens and load_s must be 0 or more and finite, not {kv_capacity_tokens} and {load_s:g}"
        )


def _linear(tokens: NDArray[np.float64], value: Mapping[str, float]) -> NDArray[np.float64]:
    return np.asarray(np.hypot(value["slope"] * tokens, value["knee"]) - value["knee"])


def _measured_constants(steps: Steps) -> list[str]:
    """The constants of the stages measured; refuses a stage measured in too few sizes."""
    text, images = steps.tokens > 0, steps.tiles > 0
    missing = _missing_language(steps) if text.any() else []
    if images.any() and _span(steps.tiles[images]) < 2:
        missing.append("encoder steps with at least two numbers of tiles, a factor of 2 apart")
    if missing:
        raise InputError(f"not identifiable; missing measurements: {'; '.join(missing)}")
    return [*(LANGUAGE if text.any() else ()), *(ENCODER if images.any() else ())]


def _missing_language(steps: Steps) -> list[str]:
    decoding = (steps.decodes > 0) & (steps.prompt_tokens == 0)
    prompts = steps.prompt_tokens > 0
    missing = []
    if not decoding.any():
        missing.append("decode steps without prompt tokens")
    elif _span(steps.context_tokens[decoding]) < 2:
        missing.append("decode steps with at least two context sizes, a factor of 2 apart")
    if not prompts.any():
        missing.append("steps with prompt tokens")
    elif _span(steps.prompt_tokens[prompts]) < 8 or len(np.unique(steps.prompt_tokens[prompts])) < 4:
        missing.append("steps with at least four prompt sizes, a factor of 8 from smallest to largest")
    return missing


def _span(values: NDArray[np.float64]) -> float:
    positive = values[values > 0]
    return float(positive.max() / positive.min()) if len(positive) else 0.0


def _solve(steps: Steps, names: Sequence[str]) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Constants of least soft-L1 relative error, and the Jacobian scaled by each constant's own size."""
    scale = _scales(steps, names)

    def residuals(point: NDArray[np.float64]) -> NDArray[np.float64]:
        constants = dict(zip(names, point * scale, strict=True))
        return np.log(np.maximum(predict(steps, constants), 1e-12) / steps.seconds)

    solution = require("scipy.optimize", "calibrate").least_squares(
        residuals, np.full(len(names), 0.5), bounds=(0.0, np.inf), loss="soft_l1", f_scale=SPREAD, max_nfev=2000
    )
    constants = {name: float(value) for name, value in zip(names, solution.x * scale, strict=True)}
    return constants, np.asarray(solution.jac)


def _scales(steps: Steps, names: Sequence[str]) -> NDArray[np.float64]:
    """The value of each constant that alone would explain the steps it takes part in."""
    fastest = float(steps.seconds.min())
    drivers = {
        "slope": steps.prompt_tokens,
        "kv": steps.context_tokens,
        "attention": steps.pairs,
        "encode_tile": steps.tiles,
    }
    return np.array([_typical(steps.seconds, drivers[name]) if name in drivers else fastest for name in names])


def _typical(seconds: NDArray[np.float64], driver: NDArray[np.float64]) -> float:
    return float(np.median(seconds[driver > 0] / driver[driver > 0]))


def _mixed_up(names: Sequence[str], jacobian: NDArray[np.float64]) -> set[str]:
    """The two constants that the measurements tell apart worst, if they cannot; else none."""
    norms = np.linalg.norm(jacobian, axis=0)
    _, singular, rows = np.linalg.svd(jacobian / np.where(norms > 0, norms, 1.0), full_matrices=False)
    if singular[-1] * WORST_CONDITION >= singular[0]:
        return set()
    return {names[at] for at in np.argsort(-np.abs(rows[-1]))[:2]}


def _check_told_apart(names: Sequence[str], jacobian: NDArray[np.float64]) -> None:
    if mixed := sorted(_mixed_up(names, jacobian), key=names.index):
        missing = "; ".join(TELLING[name] for name in mixed)
        raise InputError(f"not identifiable: {' and '.join(mixed)} cannot be told apart; measure also: {missing}")


def _whole_stages(names: Sequence[str]) -> list[str]:
    """All constants of the stages that `names` has any of."""
    return [name for stage in (LANGUAGE, ENCODER) if stage[0] in names for name in stage]


def _check_monotone(constants: Mapping[str, float]) -> None:
    for name, driver in GROWING.items():
        if name in constants and constants[name] <= 1e-15:
            raise InputError(
                f"not monotone: measured steps do not take longer with more {driver}; measure a wider range"
            )


def _cross_validate(steps: Steps, names: Sequence[str], seed: int) -> NDArray[np.float64]:
    """Relative errors of every step under constants fitted to the other folds."""
    order = stream(seed, "calibrate").permutation(len(steps.seconds))
    errors = np.empty(len(order))
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        constants, _ = _solve(steps.at(np.setdiff1d(order, held)), names)
        errors[held] = predict(steps.at(held), constants) / steps.seconds[held] - 1
    return errors
