"""A learned actor as a routing policy: compiled like every other router, its weights in the place of knobs.

    params = [layers, width, place of the room, then of each layer: inputs, outputs, activation,
              weights (outputs, inputs), bias (outputs), then room: twice `width` for what goes in and out of a layer]

It is asked about one instance at a time, with the features and transforms of slackwise/Dispatch-v0. The room is there
because a policy allocates nothing; what a call leaves in it no other call reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from slackwise.errors import InputError
from slackwise.policies.compilation import policy_helper
from slackwise.policies.declare import ROUTING, Instance, Params, Policy, Request
from slackwise.policies.knobs import Value
from slackwise.policies.learned.actor import ACTIVATIONS, SCORES, Actor
from slackwise.policies.learned.features import INSTANCE_FEATURES, LOG, REQUEST_FEATURES
from slackwise.policies.quantities import busy_left_s

INPUTS = len(REQUEST_FEATURES) + len(INSTANCE_FEATURES)
_TANH, _RELU = float(ACTIVATIONS.index("tanh")), float(ACTIVATIONS.index("relu"))
_LIMITS = tuple(each.limit if each.transform == LOG else 0.0 for each in REQUEST_FEATURES + INSTANCE_FEATURES)


@policy_helper
def seen(value: float, limit: float) -> float:
    """A feature after its transform (features.Transform): logarithmic up to `limit`, or a share where that is 0."""
    if limit > 0.0:
        value = math.log1p(value) * (1.0 / math.log1p(limit))
    return float(np.float32(min(1.0, max(0.0, value))))


@policy_helper
def dense(params: Params, at: int, source: int, target: int) -> None:
    """Outputs of the layer whose weights begin at `at` of `params`, from the place `source` to the place `target`."""
    inputs, outputs, activation = int(params[at]), int(params[at + 1]), params[at + 2]
    weights, bias = at + 3, at + 3 + inputs * outputs
    for row in range(outputs):
        total = params[bias + row]
        for column in range(inputs):
            total += params[weights + row * inputs + column] * params[source + column]
        if activation == _TANH:
            total = math.tanh(total)
        elif activation == _RELU:
            total = max(0.0, total)
        params[target + row] = total


def learned_score(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance that a network trained in slackwise/Dispatch-v0 gives the highest score.

    Formula: cost = -network(transform(features of the request, features of the instance)), the features and transforms
    of the environment.

    Trade-offs: knows what it was trained on; nobody can say why it decides as it does.
    """
    x = int(params[2])
    y = x + int(params[1])
    params[x], params[x + 1] = float(request.images), float(request.text_tokens)
    params[x + 2], params[x + 3] = float(request.image_tokens), float(request.output_estimate_tokens)
    params[x + 4], params[x + 5] = float(request.encode_estimate_s), float(request.prefill_estimate_s)
    params[x + 6] = max(0.0, float(request.deadline_s) - now)
    params[x + 7], params[x + 8], params[x + 9] = 1.0, float(instance.waiting), float(instance.running)
    params[x + 10], params[x + 11] = float(instance.backlog_s), busy_left_s(instance, now)
    params[x + 12] = float(instance.kv_used_tokens) / max(1.0, float(instance.kv_capacity_tokens))
    for column in range(INPUTS):
        params[x + column] = seen(params[x + column], _LIMITS[column])
    at = 3
    for _ in range(int(params[0])):
        dense(params, at, x, y)
        at += 3 + int(params[at]) * int(params[at + 1]) + int(params[at + 1])
        x, y = y, x
    return -float(params[x])


@dataclass(frozen=True, eq=False)
class Router(Policy):
    """A routing policy without knobs, whose params are weights."""

    weights: Params = field(default_factory=lambda: np.zeros(0))

    def params(self, **knobs: Value) -> Params:
        super().params(**knobs)
        return self.weights

    def values(self, params: Params) -> dict[str, Value]:
        return {}


_known: dict[int, tuple[Actor, Router]] = {}
"""By the identity of the actor: a policy is compiled once, however often it is asked for."""


def router_policy(actor: Actor, name: str) -> Router:
    """The routing policy of an actor of Dispatch. Raises InputError for one of another environment."""
    if actor.head != SCORES:
        raise InputError(f"an actor of {actor.environment} with '{actor.head}' cannot route: train Dispatch")
    if id(actor) not in _known:
        source = f"learned in {actor.environment}"
        _known[id(actor)] = actor, Router(name, ROUTING, {}, source, learned_score, weights=packed(actor))
    return _known[id(actor)][1]


def packed(actor: Actor) -> Params:
    """The layers of an actor as the params of `learned_score`."""
    width = max(max(layer.inputs, layer.outputs) for layer in actor.layers)
    room = 3 + sum(3 + (layer.inputs + 1) * layer.outputs for layer in actor.layers)
    parts = [np.array([len(actor.layers), width, room], np.float64)]
    for layer in actor.layers:
        weights, bias = layer.arrays()
        shape = np.array([layer.inputs, layer.outputs, ACTIVATIONS.index(layer.activation)], np.float64)
        parts += [shape, weights.ravel(), bias]
    return np.concatenate([*parts, np.zeros(2 * width)])
