"""Fits the constants: robust least squares of log(predicted / measured) with a weak prior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from constants import Constant, Values, constants, rates_of
from forms import SHIPPED, Form
from measurements import Measurements, subset
from numpy.typing import NDArray

from slackwise.latency.rates import Rates, Value
from slackwise.latency.terms import encode_seconds, fixed_seconds, soft_maximum, table_seconds
from slackwise.latency.work import LanguageWork
from slackwise.optional import require

SPREAD = 0.05
"""Relative error that the robust loss takes for ordinary; beyond, a residual counts linearly, not squared."""

OWN = ("vllm-2023",)
"""Engines measured end to end: fitted last, on their own, with the GPUs' constants held."""


def predict(measurements: Measurements, values: Values, form: Form = SHIPPED) -> NDArray[np.float64]:
    """Seconds of every row under `values` (shipped constants where absent), by the formulas of the package."""
    pairs, index = pairs_of(measurements)
    rates = rates_of(pairs, index, values)
    work = measurements.work
    if isinstance(work, LanguageWork):
        return np.asarray(_language_seconds(measurements, work, rates, form.hidden))
    return np.asarray(encode_seconds(work, rates, measurements.tokens))


def fit(rows: Measurements, form: Form = SHIPPED) -> Values:
    """Constants of all GPUs and engines in `rows`: kernels first, then the engines of `OWN` on top.

    Constants that `form` lacks get the value that leaves them out; the rows must count the work as `form` does.
    """
    own = rows.table["profile"].isin(OWN).to_numpy()
    values: dict[tuple[str, str], float] = {}
    kernels = subset(rows, ~own)
    if len(kernels.seconds):
        pairs, _ = pairs_of(kernels)
        values.update(solve(kernels, constants(sorted({gpu for gpu, _ in pairs}), pairs), {}, form))
    whole = subset(rows, own)
    if len(whole.seconds):
        values.update(solve(whole, constants([], pairs_of(whole)[0]), values, form))
    return values


def solve(rows: Measurements, known: Sequence[Constant], held: Values, form: Form) -> Values:
    """The constants `known` to the model that fit `rows` best, given the `held` ones."""
    absent = {(each.owner, each.name): form.absent[each.name] for each in known if each.name in form.absent}
    unknowns = [each for each in known if each.name not in form.absent]
    centre = np.log([each.centre for each in unknowns])
    width = np.array([each.width for each in unknowns]) * form.prior_width

    def values(point: NDArray[np.float64]) -> Values:
        return {
            **held,
            **absent,
            **{(each.owner, each.name): float(np.exp(x)) for each, x in zip(unknowns, point, strict=True)},
        }

    def residuals(point: NDArray[np.float64]) -> NDArray[np.float64]:
        errors = np.log(predict(rows, values(point), form) / rows.seconds) / SPREAD
        robust = np.sign(errors) * np.sqrt(2 * (np.sqrt(1 + errors**2) - 1))
        return np.concatenate([robust, (point - centre) / width])

    solution = require("scipy.optimize", "calibrate").least_squares(residuals, centre)
    return {key: value for key, value in values(solution.x).items() if key not in held}


def together(work_s: Value, overhead_s: Value, hidden: float) -> Value:
    """The GPU's work and the overheads of a step: their sum, or if `hidden` their soft maximum of that exponent."""
    return soft_maximum(work_s, overhead_s, hidden) if hidden else work_s + overhead_s


def _language_seconds(rows: Measurements, work: LanguageWork, rates: Rates, hidden: float) -> NDArray[np.float64]:
    table, fixed = table_seconds(work, rates, rows.tokens), fixed_seconds(work, rates)
    seconds = together(table, fixed, hidden) + rows.pairs * work.flops_per_pair / rates.attention_flops_s
    return np.asarray(seconds + rows.kv_tokens * work.kv_bytes_per_token / rates.kv_bytes_s)


def pairs_of(rows: Measurements) -> tuple[list[tuple[str, str]], NDArray[np.intp]]:
    """The distinct (GPU, engine) of the rows, and which of them each row is."""
    keys = list(zip(rows.table["gpu"], rows.table["profile"], strict=True))
    pairs = sorted(set(keys))
    return pairs, np.array([pairs.index(key) for key in keys], dtype=np.intp)
