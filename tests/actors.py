"""Learned actors for tests that have no Gymnasium: a provisioner with given or drawn weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.policies.learned.actor import CHOICES, Actor, Layer
from slackwise.policies.learned.features import features

PROVISION = "slackwise/Provision-v0"
FEATURES = len(features(2))


def net(outputs: int, bias: Any = None, seed: int = 0) -> tuple[Layer, ...]:
    """Two layers with drawn weights, or one that gives `bias` whatever it sees."""
    random = np.random.default_rng(seed)
    if bias is not None:
        return (Layer.of(np.zeros((outputs, FEATURES)), np.array(bias), "none"),)
    hidden = Layer.of(random.normal(size=(8, FEATURES)), random.normal(size=8), "tanh")
    return hidden, Layer.of(random.normal(size=(outputs, 8)), random.normal(size=outputs), "none")


def provisioner(bias: Any = None, seed: int = 0) -> Actor:
    """An actor of two pools whose golden actions are its own."""
    actor = Actor(PROVISION, ("E", "PD"), 60.0, net(13, bias, seed), CHOICES, (5, 5, 3), most_change=2)
    seen = np.random.default_rng(1).random((4, FEATURES))
    golden = tuple((tuple(row.tolist()), tuple(map(float, actor.action(row)))) for row in seen)
    return Actor(**fields_of(actor) | {"golden": golden, "trained": {"algorithm": "none"}})


def fields_of(actor: Actor) -> dict[str, Any]:
    return {name: getattr(actor, name) for name in Actor.__dataclass_fields__}


def logits(*choices: int) -> list[float]:
    """Logits of sizes 5, 5, 3 by which these choices win."""
    return [float(each == at) for size, at in zip((5, 5, 3), choices, strict=True) for each in range(size)]
