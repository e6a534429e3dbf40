"""Fitted latency models on disk: one JSON file, read back as StepCosts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.files import write_text
from slackwise.latency.costs import StepCosts
from slackwise.latency.fit import ENCODER, LANGUAGE, Fit, step_costs

FORMAT = "slackwise-latency/1"


def profile(fit: Fit, kv_capacity_tokens: int, load_s: float) -> dict[str, Any]:
    """The JSON document of a fitted model: constants in seconds, errors, source, and what a fit cannot know."""
    document = {key: value for key, value in asdict(fit).items() if key != "errors"}
    size = np.abs(fit.errors)
    return {
        "format": FORMAT,
        **document,
        "mape": float(size.mean()),
        "p90": float(np.quantile(size, 0.9)),
        "bias": float(fit.errors.mean()),
        "rows": len(size),
        "kv_capacity_tokens": kv_capacity_tokens,
        "load_s": load_s,
    }


def write_profile(path: Path, document: dict[str, Any]) -> None:
    """Write a profile, whole or not at all."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def load_profile(path: Path) -> StepCosts:
    """Read a profile as StepCosts. Raises InputError for a file that is none, naming what is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise InputError(f"{path}: format is {document['format']!r}, not {FORMAT!r}")
        constants = {name: float(value) for name, value in document["constants"].items()}
        strange = sorted(set(constants) - {*LANGUAGE, *ENCODER}) or [n for n, v in constants.items() if not v >= 0]
        if strange:
            raise InputError(f"{path}: constant {strange[0]} is unknown or negative")
        fit = Fit(constants, np.zeros(0), 0.0, 0.0, str(document["source"]))
        return step_costs(fit, int(document["kv_capacity_tokens"]), float(document["load_s"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a latency profile: {type(error).__name__} {error}") from None
