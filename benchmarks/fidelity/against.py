"""How far the roofline and a fit are from measured steps, by the kind of step.

    python benchmarks/fidelity/against.py STEPS.csv [--engine vllm] [--json]

STEPS.csv is what measure_torch.py writes and `slackwise calibrate` reads, with the columns model, gpu and
tensor_parallel. The roofline never saw these steps; the fit is cross-validated on them. What the engine does between
steps is left out of the roofline: kernels alone are compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from report import summary

from slackwise.errors import InputError, SlackwiseError
from slackwise.latency.costs import StepCosts
from slackwise.latency.engine import load_engine
from slackwise.latency.fit import fit_steps
from slackwise.latency.gpu import gpus, load_gpu
from slackwise.latency.measured import Steps, read_steps
from slackwise.latency.model import load_model
from slackwise.latency.plots import kinds
from slackwise.latency.profile import same_gpu
from slackwise.latency.roofline import roofline
from slackwise.latency.stages import seconds_of

SIDES = ("roofline", "cross_validated_fit")


def compared(steps: Steps, engine: str) -> dict[str, dict[str, Any]]:
    """Errors of both sides by kind of step and over all. Raises InputError if the instance measured is not known."""
    errors = {
        "roofline": kernel_seconds(steps, engine) / steps.seconds - 1,
        "cross_validated_fit": fit_steps(steps).held_errors,
    }
    masks = {**kinds(steps), "all": np.ones(len(steps.seconds), dtype=bool)}
    return {kind: {side: summary(errors[side][mask]) for side in SIDES} for kind, mask in masks.items()}


def kernel_seconds(steps: Steps, engine: str) -> NDArray[np.float64]:
    """Seconds of `steps` by the roofline under `engine`, (n,), without what the engine does between steps."""
    costs, between = _roofline(steps, engine), load_engine(engine).step_s
    work = zip(steps.tokens, steps.context_tokens, steps.pairs, steps.tiles, strict=True)
    found = np.array([seconds_of(costs, int(n), read, pairs, int(tiles)) for n, read, pairs, tiles in work])
    return np.asarray(found - np.where(steps.tokens > 0, between, 0.0))


def _roofline(steps: Steps, engine: str) -> StepCosts:
    told = [steps.instance.get(name, "") for name in ("model", "gpu", "tensor_parallel")]
    if "" in told:
        raise InputError("the columns model, gpu and tensor_parallel must say what was measured")
    places = [gpu for gpu in gpus() if same_gpu(told[1], gpu)]
    if len(places) != 1:
        raise InputError(f"no roofline for the GPU {told[1]!r}; known are {', '.join(gpus())}")
    return roofline(load_model(told[0]), load_gpu(places[0]), int(float(told[2])), engine)


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """A Markdown table, in percent."""
    lines = ["| step | rows | roofline: MAPE | P90 | bias | fit: MAPE | P90 | bias |", "| --- |" + " ---: |" * 7]
    for kind, sides in found.items():
        cells = [f"{sides[side]['mape']:.1%} | {sides[side]['p90']:.1%} | {sides[side]['bias']:+.1%}" for side in SIDES]
        lines.append(f"| {kind} | {sides['roofline']['rows']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", type=Path)
    parser.add_argument("--engine", default="vllm", help="engine generation of the roofline")
    parser.add_argument("--json", action="store_true", help="one JSON document; errors are fractions")
    options = parser.parse_args(given)
    try:
        found = compared(read_steps(options.steps), options.engine)
    except SlackwiseError as error:
        print(f"against: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found, indent=2, allow_nan=False) if options.json else markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
