"""An actor: the network of a learned policy as data. It decides with NumPy alone, whatever trained it.

    {"version": 2, "environment": "slackwise/Provision-v0", "pools": ["E", "PD"], "interval_s": 60.0,
     "layers": [{"inputs": 35, "outputs": 64, "weights": "<base64>", "bias": "<base64>", "activation": "tanh"}, ...],
     "head": "choices", "sizes": [5, 5, 3], "most_change": 2, "knobs": [], "trained": {...}, "golden": [...]}

Weights are float32, little-endian, row by row of (outputs, inputs), and are computed with in float64.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import CheckError, InputError
from slackwise.files import read_json, write_text
from slackwise.policies.keys import checked_keys
from slackwise.policies.learned.features import INSTANCE_FEATURES, REQUEST_FEATURES

VERSION = 2
"""Version of the section: a reader refuses a newer one. 2 added the head "scores"."""

CHOICES, CLIPPED, SQUASHED, SCORES = "choices", "clipped", "squashed", "scores"
HEADS = {
    CHOICES: "the outputs are logits of `sizes` choices one after another; of each the first of the largest is taken",
    CLIPPED: "the outputs, cut to -1 and 1",
    SQUASHED: "the hyperbolic tangent of the outputs",
    SCORES: "the one output is the score of an instance, seen beside the request; the first of the highest is taken",
}
"""How the outputs of the last layer become an action."""

ACTIVATIONS = ("none", "tanh", "relu")
TOLERANCE = 1e-6
"""Of golden actions that are real numbers: sums differ in their last bits from machine to machine."""


@dataclass(frozen=True)
class Layer:
    """A dense layer: activation(weights @ x + bias)."""

    inputs: int
    outputs: int
    weights: str  # base64 of float32, (outputs, inputs)
    bias: str  # base64 of float32, (outputs,)
    activation: str  # one of ACTIVATIONS

    @classmethod
    def of(cls, weights: NDArray[Any], bias: NDArray[Any], activation: str) -> Layer:
        """The layer of arrays (outputs, inputs) and (outputs,)."""
        return cls(weights.shape[1], weights.shape[0], _packed(weights), _packed(bias), activation)

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights (outputs, inputs) and bias (outputs,), float64. Raises InputError if they are not as many, or NaN."""
        weights, bias = _unpacked(self.weights), _unpacked(self.bias)
        if len(weights) != self.inputs * self.outputs or len(bias) != self.outputs:
            raise InputError(f"actor: a layer of {self.inputs} inputs and {self.outputs} outputs has other weights")
        return weights.reshape(self.outputs, self.inputs), bias


@dataclass(frozen=True)
class Actor:
    """A learned policy. Raises InputError if its parts do not fit together."""

    environment: str  # id of the environment that it was trained in
    pools: tuple[str, ...]  # kinds of the pools that it was trained on
    interval_s: float  # seconds between two decisions
    layers: tuple[Layer, ...]
    head: str  # one of HEADS
    sizes: tuple[int, ...] = ()  # of CHOICES: how many each
    most_change: int = 0  # instances of a pool that an action changes at most (Provision)
    knobs: tuple[tuple[str, str, str], ...] = ()  # (role, policy, knob) that an action turns (Knobs)
    golden: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()  # observations and their actions
    trained: Mapping[str, Any] = field(default_factory=dict)  # algorithm, seed, timesteps: free in its keys

    def __post_init__(self) -> None:
        widths = [layer.inputs for layer in self.layers] + [layer.outputs for layer in self.layers[-1:]]
        if not self.layers or any(a.outputs != b.inputs for a, b in zip(self.layers, self.layers[1:], strict=False)):
            raise InputError(f"actor: layers of {widths} do not follow from one another")
        if self.head not in HEADS or any(layer.activation not in ACTIVATIONS for layer in self.layers):
            raise InputError(f"actor: heads are {', '.join(HEADS)}, activations {', '.join(ACTIVATIONS)}")
        if self.head == CHOICES and sum(self.sizes) != widths[-1]:
            raise InputError(f"actor: choices of {list(self.sizes)} need {sum(self.sizes)} outputs, not {widths[-1]}")
        if self.head == SCORES and (widths[0], widths[-1]) != (len(REQUEST_FEATURES) + len(INSTANCE_FEATURES), 1):
            raise InputError(f"actor: scores are of {len(REQUEST_FEATURES)} and {len(INSTANCE_FEATURES)} features")
        if not 0 < self.interval_s < float("inf"):
            raise InputError(f"actor: interval_s = {self.interval_s} must be above 0 and finite")
        if not all(np.isfinite(array).all() for layer in self._arrays for array in layer):
            raise InputError("actor: a weight is not finite")

    @cached_property
    def _arrays(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        return [layer.arrays() for layer in self.layers]

    def outputs(self, observation: NDArray[Any]) -> NDArray[np.float64]:
        """Outputs of the last layer, float64, of an observation, shape (inputs,), or of rows of them."""
        x = np.asarray(observation, np.float64)
        if x.shape[-1:] != (self.layers[0].inputs,):
            raise InputError(f"the actor takes {self.layers[0].inputs} features, not {x.shape}")
        for (weights, bias), layer in zip(self._arrays, self.layers, strict=True):
            x = x @ weights.T + bias
            if layer.activation != "none":
                x = np.tanh(x) if layer.activation == "tanh" else np.maximum(x, 0.0)
        return x

    def action(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The action for an observation: int64 of the choices or of the instance, else float64 between -1 and 1."""
        if self.head == SCORES:
            rows, ready = instance_rows(np.asarray(observation, np.float64))
            return np.array([int(np.argmax(np.where(ready, self.outputs(rows)[:, 0], -np.inf)))])
        x = self.outputs(observation)
        if self.head == CHOICES:
            ends = np.cumsum(self.sizes)
            return np.array([int(np.argmax(x[end - size : end])) for size, end in zip(self.sizes, ends, strict=True)])
        return np.clip(x, -1.0, 1.0) if self.head == CLIPPED else np.tanh(x)

    def replay(self) -> None:
        """Raise CheckError if a golden observation does not lead to the action recorded."""
        for number, (observation, recorded) in enumerate(self.golden):
            action = self.action(np.array(observation))
            same = action.shape == np.shape(recorded) and np.allclose(action, recorded, rtol=0.0, atol=TOLERANCE)
            if not same:
                what = f"golden action {number} of the actor comes out as {action.tolist()}, recorded {list(recorded)}"
                raise CheckError(f"{what}; the weights are not those that were trained")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        made = {"layers": [vars(layer) for layer in self.layers], "trained": dict(self.trained)}
        document: dict[str, Any] = json.loads(json.dumps({"version": VERSION} | plain | made))
        return document

    @classmethod
    def from_dict(cls, document: Any) -> Actor:
        """From the JSON form, replaying the golden actions.

        Raises InputError for a newer version or what is not an actor; CheckError if an action comes out differently.
        """
        if isinstance(document, dict) and isinstance(document.get("version"), int) and document["version"] > VERSION:
            raise InputError(f"actor has version {document['version']}, this slackwise reads up to {VERSION}")
        names = [each.name for each in fields(cls)]
        checked_keys("actor", document, ["version", *names], required=["version", *names])
        try:
            actor = cls(**{name: _tuples(document[name]) for name in names} | _typed(document))
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not an actor: {error}") from None
        actor.replay()
        return actor


def instance_rows(observation: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What a router sees, a row an instance: the request's features and its own; and which of them take work.

    Raises InputError unless the observation is that of Dispatch.
    """
    request, own = len(REQUEST_FEATURES), len(INSTANCE_FEATURES)
    if observation.ndim != 1 or len(observation) <= request or (len(observation) - request) % own:
        raise InputError(f"{observation.shape} features are not those of a request and of instances")
    instances = observation[request:].reshape(-1, own)
    rows = np.hstack([np.tile(observation[:request], (len(instances), 1)), instances])
    return rows, np.asarray(instances[:, 0] > 0.5)


def write_actor(path: str | os.PathLike[str], actor: Actor) -> None:
    """Write an actor to `path`, whole or not at all."""
    write_text(path, json.dumps(actor.to_dict(), indent=1, allow_nan=False) + "\n")


def read_actor(path: str | os.PathLike[str], section: str = "actor") -> Actor:
    """The actor in `path`, a file of `write_actor` or a winner.json with one in `section`, its golden actions replayed.

    Raises InputError if there is none, CheckError if it decides differently here.
    """
    document = read_json(path)
    if isinstance(document, dict) and section in document:
        document = document[section]
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no actor")
    return Actor.from_dict(document)


def _typed(document: dict[str, Any]) -> dict[str, Any]:
    """The parts that are records of their own."""
    names = [each.name for each in fields(Layer)]
    for layer in document["layers"]:
        checked_keys("layer of an actor", layer, names, required=names)
    if not isinstance(document["trained"], dict):
        raise InputError("actor: trained must be an object")
    return {"layers": tuple(Layer(**layer) for layer in document["layers"]), "trained": document["trained"]}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _packed(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def _unpacked(text: str) -> NDArray[np.float64]:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64)
    except (binascii.Error, ValueError, TypeError):
        raise InputError("actor: weights are not base64 of float32") from None
