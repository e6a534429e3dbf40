"""From a trained model to an actor: layers as arrays, held equal to the model on golden observations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from slackwise.env.base import ServiceEnv
from slackwise.env.dispatch import DispatchEnv
from slackwise.env.knobs import KnobsEnv
from slackwise.env.provision import ProvisionEnv
from slackwise.errors import CheckError, InputError
from slackwise.policies.learned.actor import CHOICES, CLIPPED, SCORES, SQUASHED, Actor, Layer
from slackwise.policies.provisioning.pool import WINDOWS_S
from slackwise.tuning.training.scoring import Scores

GOLDEN = 8
"""Golden observations of an actor."""

CLOSE = 1e-4
"""How far the real actions of the model, computed in float32, may be from the actor's."""

NAMES: dict[type[nn.Module], str] = {nn.Tanh: "tanh", nn.ReLU: "relu"}


def actor_of(model: Any, env: ServiceEnv, observations: Sequence[NDArray[Any]], trained: dict[str, Any]) -> Actor:
    """The actor of a trained model, with golden actions. Raises InputError as `network`, CheckError if it decides
    otherwise.

    Of `observations` a few, evenly spread, become golden.
    """
    actor = network(model, env, trained)
    chosen = [observations[at] for at in np.linspace(0, len(observations) - 1, GOLDEN).astype(int)]
    check(model, actor, observations)
    return replace(
        actor, golden=tuple((tuple(map(float, each)), tuple(map(float, actor.action(each)))) for each in chosen)
    )


def network(model: Any, env: ServiceEnv, trained: dict[str, Any] | None = None) -> Actor:
    """The network of a model as an actor that is not checked. Raises InputError if it has other layers."""
    layers, squashed = _layers(_modules(model.policy))
    space: Any = model.action_space
    head = (SQUASHED if squashed else CLIPPED) if isinstance(space, spaces.Box) else CHOICES
    head = SCORES if isinstance(env, DispatchEnv) else head
    parts: dict[str, Any] = {"sizes": () if head == SCORES else _sizes(space), "trained": trained or {}}
    parts |= {"most_change": env.actions.most_change} if isinstance(env, ProvisionEnv) else {}
    parts |= {"knobs": _knobs(env)} if isinstance(env, KnobsEnv) else {}
    pools = tuple(pool.stages for pool in env.service.configuration.cluster.pools)
    spec = env.spec.id if env.spec else type(env).__name__
    return Actor(spec, pools, env.interval_s, layers, head, **parts)


def check_interval(env: ServiceEnv) -> None:
    """Raise InputError if an actor of this environment could not be exported."""
    if env.interval_s not in WINDOWS_S:
        raise InputError(f"interval_s = {env.interval_s:g}: an actor can be exported for {list(WINDOWS_S)} only")


def check(model: Any, actor: Actor, observations: Sequence[NDArray[Any]]) -> None:
    """Raise CheckError if an action of the actor is not the model's."""
    for number, observation in enumerate(observations):
        theirs = np.atleast_1d(model.predict(observation, deterministic=True)[0])
        mine = actor.action(observation)
        if not np.allclose(mine, theirs, rtol=0.0, atol=CLOSE):
            raise CheckError(f"observation {number}: the actor says {mine.tolist()}, the model {theirs.tolist()}")


def _modules(policy: Any) -> list[nn.Module]:
    """Layers and activations from observation to action."""
    scores = next((each for each in policy.modules() if isinstance(each, Scores)), None)
    if scores is not None:  # Dispatch
        return list(scores.net)
    if hasattr(policy, "mlp_extractor"):  # PPO, MaskablePPO
        return [*policy.mlp_extractor.policy_net, policy.action_net]
    if hasattr(policy, "actor"):  # SAC
        return [*policy.actor.latent_pi, policy.actor.mu, nn.Tanh()]
    return list(policy.action_net)  # ARS


def _layers(modules: Iterable[nn.Module]) -> tuple[tuple[Layer, ...], bool]:
    """Dense layers, and whether a tanh ends them."""
    found: list[tuple[nn.Linear, str]] = []
    for module in modules:
        if isinstance(module, nn.Linear):
            found.append((module, "none"))
        elif type(module) in NAMES and found:
            found[-1] = found[-1][0], NAMES[type(module)]
        else:
            raise InputError(f"a network with {type(module).__name__} cannot be exported")
    squashed = found[-1][1] == "tanh"
    if squashed:
        found[-1] = found[-1][0], "none"
    return tuple(_layer(*each) for each in found), squashed


def _layer(linear: nn.Linear, activation: str) -> Layer:
    weights = linear.weight.detach().numpy()
    bias = np.zeros(len(weights)) if linear.bias is None else linear.bias.detach().numpy()
    return Layer.of(weights, bias, activation)


def _sizes(space: Any) -> tuple[int, ...]:
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    return tuple(map(int, space.nvec)) if isinstance(space, spaces.MultiDiscrete) else ()


def _knobs(env: KnobsEnv) -> tuple[tuple[str, str, str], ...]:
    policies = env.service.configuration.policies
    return tuple((role, getattr(policies, role).name, name) for role, name, _ in env.knobs)
