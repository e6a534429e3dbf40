"""AIConfigurator's step times: as latency profiles that the simulator serves with, and beside slackwise's own."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slackwise.errors import InputError
from slackwise.latency.costs import StepCosts, step_seconds
from slackwise.latency.fit import Fit, fit_steps
from slackwise.latency.measured import REQUIRED, read_steps
from slackwise.latency.profile import profile, write_profile

SHOWN = (
    {"images": 1},
    {"images": 8},
    {"prompt_tokens": 512},
    {"prompt_tokens": 2048},
    {"prompt_tokens": 8192},
    {"decodes": 1, "context_tokens": 1024},
    {"decodes": 64, "context_tokens": 64 * 1024},
    {"decodes": 256, "context_tokens": 256 * 1024},
    {"decodes": 64, "context_tokens": 64 * 2048, "prompt_tokens": 2048},
)
"""Steps of the table of stage latencies."""


def fitted(table: Mapping[str, Any], folder: Path, name: str) -> tuple[str, Fit]:
    """Write a profile of a table of the worker's answer into `folder`: its path, and the fit with its errors.

    Raises InputError for a table that is none, or whose steps do not tell the constants apart.
    """
    steps = folder / f"{name}.csv"
    try:
        rows, kv_tokens = [{each: row[each] for each in REQUIRED} for row in table["steps"]], int(table["kv_tokens"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the answer holds no table of steps: {type(error).__name__} {error}") from None
    with steps.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, REQUIRED)
        writer.writeheader()
        writer.writerows(rows)
    fit = fit_steps(read_steps(steps))
    path = folder / f"{name}.json"
    write_profile(path, profile(fit, kv_tokens, 0.0))
    return str(path), fit


def beside(table: Mapping[str, Any], costs: StepCosts) -> list[dict[str, Any]]:
    """The steps of SHOWN that the table has: its seconds, slackwise's, and slackwise's over its."""
    rows = []
    for wanted in SHOWN:
        step = next((row for row in table["steps"] if _is(row, wanted)), None)
        if step is not None:
            ours = _seconds(costs, step)
            rows.append(
                {
                    "step": _name(step),
                    "aiconfigurator_s": round(step["seconds"], 6),
                    "slackwise_s": round(ours, 6),
                    "ratio": round(ours / step["seconds"], 3),
                }
            )
    return rows


def _is(row: Mapping[str, Any], wanted: Mapping[str, int]) -> bool:
    sizes = ("decodes", "context_tokens", "prompt_tokens", "images")
    return all(row[each] == wanted.get(each, 0) for each in sizes)


def _seconds(costs: StepCosts, step: Mapping[str, Any]) -> float:
    prompt = step["prompt_tokens"]
    tokens, pairs = step["decodes"] + prompt, prompt * prompt / 2
    found = step_seconds(costs.record, costs.linear_s, tokens, step["context_tokens"], pairs, step["tiles"], False)
    return float(found)


def _name(step: Mapping[str, Any]) -> str:
    parts = []
    if step["images"]:
        parts.append(f"encode {step['images']} image{'s' * (step['images'] > 1)}")
    if step["prompt_tokens"]:
        parts.append(f"prefill {step['prompt_tokens']} tokens")
    if step["decodes"]:
        each = step["context_tokens"] // step["decodes"]
        parts.append(f"decode {step['decodes']} at {each}")
    return " + ".join(parts)
