"""Forecasts of demand, one a modality: exponential smoothing with a daily season (statsmodels), as a quantile."""

from __future__ import annotations

import warnings
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.optional import require

Rates = NDArray[np.float64]


def forecast(history: Rates, steps: int, season: int | None = None, quantile: float = 0.9) -> Rates:
    """The `quantile` of the next `steps` values after `history`, (steps,), at least 0.

    Simple exponential smoothing with an additive season once two seasons are known (Holt and Winters, 1960), without
    one before; the spread is that of the one-step errors. Short histories repeat their last value. Raises InputError
    for an empty history or a quantile outside (0, 1).
    """
    if not len(history) or not 0.0 < quantile < 1.0 or steps < 1:
        raise InputError(f"a history, at least 1 step and a quantile within (0, 1) are needed, not {quantile:g}")
    values = np.asarray(history, float)
    if len(values) < 8 or np.ptp(values) == 0.0:
        return np.full(steps, float(values[-1]))
    mean, errors = _smoothed(values, steps, season)
    spread = float(np.sqrt(np.mean(errors**2)))
    return np.maximum(0.0, mean + NormalDist().inv_cdf(quantile) * spread)


def _smoothed(values: Rates, steps: int, season: int | None) -> tuple[Rates, Rates]:
    """(forecast of the mean, one-step errors)."""
    holtwinters = require("statsmodels.tsa.holtwinters", "solver")
    seasonal = season is not None and len(values) >= 2 * season and season > 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the fit has not converged to the last digit is of no interest here
        fitted = holtwinters.ExponentialSmoothing(
            values,
            trend=None,
            seasonal="add" if seasonal else None,
            seasonal_periods=season if seasonal else None,
            initialization_method="heuristic" if seasonal else "estimated",
        ).fit()
    return np.asarray(fitted.forecast(steps), float), np.asarray(fitted.resid, float)
