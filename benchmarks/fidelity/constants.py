"""The fitted constants: which there are, where the fit starts from, and fitted.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import slackwise.latency
from slackwise.files import write_text
from slackwise.latency.engine import Engine, Kernels, load_engine
from slackwise.latency.gpu import Efficiency, Gpu, load_gpu
from slackwise.latency.rates import Rates, rates

FITTED = Path(slackwise.latency.__path__[0]) / "fitted.toml"
Values = Mapping[tuple[str, str], float]
"""(owner, name) -> value, the owner being a GPU or an engine."""


@dataclass(frozen=True)
class Constant:
    """A constant with its weak prior: log-normal around `centre`, `width` standard deviations of the logarithm."""

    owner: str
    name: str
    centre: float
    width: float


GPU_PRIORS = {
    "compute": (0.85, 0.1),
    "memory": (0.85, 0.1),
    "attention": (0.5, 0.4),
    "kv": (0.85, 0.15),
    "all_reduce": (0.5, 0.2),
    "overlap": (2.0, 0.2),
}
ENGINE_PRIORS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "vllm": {"layer_s": (50e-6, 0.5), "all_reduce_s": (5e-6, 1.0), "ring_step_s": (5e-6, 1.0)},
    "trtllm": {
        "layer_s": (50e-6, 0.5),
        "all_reduce_s": (5e-6, 1.0),
        "ring_step_s": (5e-6, 1.0),
        "compute": (1.0, 0.03),
        "memory": (1.0, 0.03),
        "attention": (1.0, 0.15),
        "kv": (1.0, 0.15),
        "all_reduce": (1.0, 0.2),
    },
    "torch": {"layer_s": (50e-6, 0.5), "compute": (1.0, 0.15), "memory": (1.0, 0.05)},
    "vllm-2023": {
        "layer_s": (400e-6, 0.7),
        "peer_share": (0.03, 1.5),
        "all_reduce_s": (10e-6, 1.5),
        "compute": (0.8, 0.3),
        "memory": (1.0, 0.7),
        "attention": (0.5, 0.7),
        "all_reduce": (0.5, 0.7),
        "slow_reduce_tokens": (2500.0, 0.2),
        "slow_reduce_bytes_s": (50e9, 1.0),
    },
}


OTHERS = ("all_reduce_s", "slow_reduce_tokens", "slow_reduce_bytes_s", "ring_step_s", "peer_share")
"""Constants of an engine that are neither a layer's overhead nor a factor of kernels."""


def constants(gpus: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[Constant]:
    """Constants of the GPUs that are to be fitted, and of the engines in `pairs` of (GPU, engine)."""
    found = [Constant(gpu, name, *prior) for gpu in gpus for name, prior in GPU_PRIORS.items()]
    for engine in sorted({engine for _, engine in pairs}):
        for name, prior in ENGINE_PRIORS[engine].items():
            places = [f"@{gpu}" for gpu, other in pairs if other == engine] if name == "layer_s" else [""]
            found += [Constant(engine, name + place, *prior) for place in places]
    return found


def gpu_with(name: str, values: Values) -> Gpu:
    """The GPU with the efficiency constants in `values`, the shipped ones where absent."""
    gpu = load_gpu(name)
    changed = {each.name: values[name, each.name] for each in fields(Efficiency) if (name, each.name) in values}
    return replace(gpu, efficiency=replace(gpu.efficiency, **changed))


def engine_with(name: str, values: Values) -> Engine:
    """The engine with the constants in `values`; nothing between steps, which no row of kernels contains."""
    engine = load_engine(name)
    mine = {key: value for (owner, key), value in values.items() if owner == name}
    kernels = {each.name: mine[each.name] for each in fields(Kernels) if each.name in mine}
    layers = {key.partition("@")[2]: value for key, value in mine.items() if key.startswith("layer_s@")}
    others = {key: mine[key] for key in OTHERS if key in mine}
    return replace(
        engine,
        layer_s={**engine.layer_s, **layers},
        kernels=replace(engine.kernels, **kernels),
        **others,  # type: ignore[arg-type]
    )


def rates_of(pairs: Sequence[tuple[str, str]], index: NDArray[np.intp], values: Values) -> Rates:
    """Rates of every row, as arrays: row i runs on `pairs[index[i]]` of (GPU, engine)."""
    each = [rates(gpu_with(gpu, values), engine_with(engine, values)) for gpu, engine in pairs]
    columns = {item.name: np.array([getattr(one, item.name) for one in each], float) for item in fields(Rates)}
    return Rates(**{name: column[index] for name, column in columns.items()})


def write_fitted(values: Values) -> None:
    """Write `values` into the package's fitted.toml; constants that are not in `values` stay."""
    document = tomllib.loads(FITTED.read_text(encoding="utf-8"))
    for (owner, key), value in values.items():
        if owner in document["gpus"]:
            document["gpus"][owner][key] = value
            continue
        table = document["engines"].setdefault(owner, {})
        name, _, gpu = key.partition("@")
        if gpu:
            table.setdefault(name, {})[gpu] = value
        elif name in {each.name for each in fields(Kernels)}:
            table.setdefault("kernels", {})[name] = value
        else:
            table[name] = value
    write_text(FITTED, _toml(document))


def _toml(document: Mapping[str, Mapping[str, Mapping[str, object]]]) -> str:
    lines = ["# Written by benchmarks/fidelity/roofline.py --fit: do not edit. Meaning: gpu.py and engine.py."]
    for kind, tables in document.items():
        for owner, table in tables.items():
            lines += ["", f'[{kind}."{owner}"]', *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f'"{key}" = {_value(each)}' for key, each in value.items()) + " }"
    text = f"{value:.4g}"
    return text if any(mark in text for mark in ".e") else text + ".0"
