"""Latency curves and residuals of a fit, as image files (extra `report`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.files import written_whole
from slackwise.latency.costs import StepCosts
from slackwise.latency.fit import Fit
from slackwise.latency.measured import Steps
from slackwise.latency.model import Model
from slackwise.latency.stages import prefill_seconds, seconds_of
from slackwise.optional import require

FORMATS = (".png", ".svg", ".pdf")


def plot_curves(path: Path, model: Model, costs: StepCosts) -> None:
    """Encode against tiles, prefill against tokens, decode against context at several batches; milliseconds."""
    figure, (encode, prefill, decode) = _figure(3)
    tiles = np.arange(1, 33)
    _line(encode, tiles, [seconds_of(costs, tiles=int(n)) for n in tiles], "")
    tokens = np.arange(64, 8193, 64)
    _line(prefill, tokens, [prefill_seconds(model, costs, int(n)) for n in tokens], "")
    contexts = np.linspace(0, 8192, 17)
    for batch in (1, 8, 32, 128):
        _line(decode, contexts, [seconds_of(costs, batch, batch * each) for each in contexts], f"batch {batch}")
    decode.legend()
    labels = ("encode: tiles", "prefill: text tokens", "decode: context of each sequence")
    for axes, label in zip((encode, prefill, decode), labels, strict=True):
        axes.set(xlabel=label, ylabel="ms", ylim=(0, None))
    _save(figure, path)


def plot_residuals(path: Path, steps: Steps, fit: Fit) -> None:
    """Relative errors of the fit against measured milliseconds, by the kind of step."""
    figure, (axes,) = _figure(1)
    for name, mask in kinds(steps).items():
        axes.plot(1e3 * steps.seconds[mask], 100 * fit.errors[mask], ".", label=name)
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set(xscale="log", xlabel="measured, ms", ylabel="predicted / measured - 1, %")
    axes.legend()
    _save(figure, path)


def kinds(steps: Steps) -> dict[str, NDArray[np.bool_]]:
    """The steps of each kind that occurs: encode, decode, prefill, mixed."""
    encodes, prompts, decodes = steps.tiles > 0, steps.prompt_tokens > 0, steps.decodes > 0
    masks = {
        "encode": encodes & ~prompts & ~decodes,
        "decode": decodes & ~prompts & ~encodes,
        "prefill": prompts & ~decodes & ~encodes,
        "mixed": (encodes.astype(int) + prompts + decodes) > 1,
    }
    return {name: mask for name, mask in masks.items() if mask.any()}


def _figure(columns: int) -> tuple[Any, Any]:
    figure = require("matplotlib.figure", "report").Figure(figsize=(5 * columns, 4), layout="constrained")
    return figure, [figure.add_subplot(1, columns, at + 1) for at in range(columns)]


def _line(axes: Any, x: NDArray[Any], seconds: list[float], label: str) -> None:
    axes.plot(x, 1e3 * np.array(seconds), label=label)


def _save(figure: Any, path: Path) -> None:
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: a plot ends in {', '.join(FORMATS)}")
    with written_whole(path) as part:
        figure.savefig(part, format=path.suffix[1:])
