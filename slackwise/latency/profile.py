"""Fitted latency models on disk: one JSON file, read back as StepCosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.files import write_text
from slackwise.latency.catalogue import folded, resolve
from slackwise.latency.costs import StepCosts
from slackwise.latency.fit import ENCODER, LANGUAGE, Fit, check_instance, step_costs
from slackwise.latency.gpu import gpus
from slackwise.latency.model import models

FORMAT = "slackwise-latency/1"


def profile(fit: Fit, kv_capacity_tokens: int, load_s: float) -> dict[str, Any]:
    """The JSON document of a fitted model: constants in seconds, errors, source, and what a fit cannot know.

    Raises InputError unless capacity and load time are 0 or more.
    """
    check_instance(kv_capacity_tokens, load_s)
    document = {key: value for key, value in asdict(fit).items() if key not in ("errors", "held_errors")}
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
    document = _document(path)
    return _costs(path, document, (*LANGUAGE, *ENCODER))


def instance_costs(
    path: Path, model: str, gpu: str, tensor_parallel: int, encode: bool = True, llm: bool = True
) -> StepCosts:
    """Costs of the stages that an instance has (`encode`, `llm`), from the profile at `path`.

    Raises InputError if the file is no profile, if a stage of the instance was not measured, if an LLM has no KV
    capacity, or if the profile names another model, GPU or tensor parallelism. The engine is not compared: it is free
    text, printed with the source.
    """
    document = _document(path)
    _check_instance(path, document, {"model": model, "gpu": gpu, "tensor_parallel": str(tensor_parallel)})
    for wanted, names, stage in ((encode, ENCODER, "encoder"), (llm, LANGUAGE, "prefill and decode")):
        if wanted and not set(names) <= set(document["constants"]):
            raise InputError(f"{path}: no {stage} steps were measured, which the instance needs")
    costs = _costs(path, document, (*(ENCODER if encode else ()), *(LANGUAGE if llm else ())))
    if llm and costs.kv_capacity_tokens < 1:
        raise InputError(f"{path}: the KV capacity is 0; calibrate with --kv-capacity-tokens as the engine reports it")
    return costs


def _document(path: Path) -> dict[str, Any]:
    """The checked JSON document at `path`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise InputError(f"{path}: format is {document['format']!r}, not {FORMAT!r}")
        document["constants"] = {name: float(value) for name, value in document["constants"].items()}
        document["instance"] = {name: str(value) for name, value in document.get("instance", {}).items()}
        document["kv_capacity_tokens"], document["load_s"] = (
            int(document["kv_capacity_tokens"]),
            float(document["load_s"]),
        )
        document["source"] = str(document["source"])
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a latency profile: {type(error).__name__} {error}") from None
    _check_constants(path, document)
    return dict(document)


def _check_constants(path: Path, document: Mapping[str, Any]) -> None:
    constants = document["constants"]
    strange = [name for name, value in constants.items() if not (isfinite(value) and value >= 0)]
    strange += sorted(set(constants) - {*LANGUAGE, *ENCODER})
    if strange:
        raise InputError(f"{path}: constant {strange[0]} is unknown or not a number of 0 or more")
    for names in (LANGUAGE, ENCODER):
        missing = [name for name in names if name not in constants]
        if 0 < len(missing) < len(names):
            raise InputError(f"{path}: constant {missing[0]} is missing")
    if not constants:
        raise InputError(f"{path}: no constants")
    try:
        check_instance(document["kv_capacity_tokens"], document["load_s"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _costs(path: Path, document: Mapping[str, Any], names: Iterable[str]) -> StepCosts:
    """The constants `names` of a document as the simulator asks them."""
    constants = {name: document["constants"][name] for name in names if name in document["constants"]}
    capacity = document["kv_capacity_tokens"] if "step" in constants else 0
    fit = Fit(constants, np.zeros(0), 0.0, 0.0, f"profile {path.name}: {document['source']}")
    return step_costs(fit, capacity, document["load_s"])


def _check_instance(path: Path, document: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    """Refuse a profile that says that it is of another instance; what it does not say is not checked."""
    same: Mapping[str, Callable[[str, str], bool]] = {
        "model": lambda said, name: _same(said, name, models()),
        "gpu": same_gpu,
        "tensor_parallel": lambda said, count: said.removesuffix(".0") == count,
    }
    for name, value in wanted.items():
        said = document["instance"].get(name)
        if said is not None and not same[name](said, value):
            raise InputError(f"{path}: measured with {name} {said}, not {value}")


def same_gpu(said: str, gpu: str) -> bool:
    """Whether `said`, a name from a driver or a csv ("NVIDIA H100 80GB HBM3"), is the GPU called `gpu` here."""
    known = resolve("GPU", gpu, gpus())
    return _same(said, known, gpus()) or all(word in folded(said) for word in known.lower().split("-"))


def _same(said: str, name: str, known: Iterable[str]) -> bool:
    """Whether two names mean the same entry of the catalogue."""
    names = list(known)
    try:
        return resolve("name", said, names) == resolve("name", name, names)
    except InputError:
        return folded(said) == folded(name)
