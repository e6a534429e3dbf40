"""Networks of Dispatch: one scores an instance beside the request, the same for every instance, so that it can route.

A network over all instances at once would know how many there are; a router is asked about one at a time. The value of
a state is still computed from all of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from sb3_contrib.ars.policies import ARSPolicy
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from slackwise.policies.learned.features import INSTANCE_FEATURES, REQUEST_FEATURES

REQUEST, OWN = len(REQUEST_FEATURES), len(INSTANCE_FEATURES)

NEVER = -1e8
"""Logit of an instance that takes no work."""

LEAST_GAIN = 0.01
"""Scale of the last layer's weights at first, as Stable-Baselines3 begins policies."""


class Scores(nn.Module):
    """Observations of Dispatch, (batch, REQUEST + n * OWN), to a score of each instance, (batch, n)."""

    def __init__(self, hidden: list[int], activation: type[nn.Module], with_bias: bool = True) -> None:
        super().__init__()
        self.net = nn.Sequential(*create_mlp(REQUEST + OWN, 1, hidden, activation, with_bias=with_bias))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        own = observations[:, REQUEST:].reshape(len(observations), -1, OWN)
        request = observations[:, None, :REQUEST].expand(-1, own.shape[1], -1)
        scores: torch.Tensor = self.net(torch.cat([request, own], dim=2)).squeeze(2)
        return scores.masked_fill(own[..., 0] < 0.5, NEVER)


class _Extractor(nn.Module):
    """What Stable-Baselines3 puts before its last layers: here the scores themselves, and a network for the value."""

    def __init__(self, features: int, hidden: list[int], activation: type[nn.Module]) -> None:
        super().__init__()
        self.scores = Scores(hidden, activation)
        self.value = nn.Sequential(*create_mlp(features, -1, hidden, activation))
        self.latent_dim_pi = (features - REQUEST) // OWN
        self.latent_dim_vf = hidden[-1] if hidden else features

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.scores(features)
        return found

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.value(features)
        return found


def _extractor(policy: Any) -> Any:
    """Its extractor, with the scores in it."""
    return _Extractor(policy.features_dim, list(policy.net_arch), policy.activation_fn).to(policy.device)


def _finish(policy: Any, lr_schedule: Any) -> None:
    """Put nothing after the scores, begin with small ones, and let the optimiser know."""
    policy.action_net = nn.Identity()
    policy.mlp_extractor.scores.net[-1].apply(partial(policy.init_weights, gain=LEAST_GAIN))
    policy.optimizer = policy.optimizer_class(policy.parameters(), lr=lr_schedule(1), **policy.optimizer_kwargs)


class ScoringPolicy(ActorCriticPolicy):
    """For PPO."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = _extractor(self)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        _finish(self, lr_schedule)


class MaskableScoringPolicy(MaskableActorCriticPolicy):
    """For MaskablePPO."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = _extractor(self)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        _finish(self, lr_schedule)


class LinearScoringPolicy(ARSPolicy):
    """For ARS: the score is linear."""

    def __init__(self, observation_space: Any, action_space: Any, with_bias: bool = True) -> None:
        super().__init__(observation_space, action_space, net_arch=[], with_bias=with_bias)
        self.with_bias = with_bias
        self.action_net = nn.Sequential(Scores([], nn.Tanh, with_bias))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "with_bias": self.with_bias,
        }


POLICIES = {"ppo": ScoringPolicy, "maskable_ppo": MaskableScoringPolicy, "ars": LinearScoringPolicy}
"""By algorithm."""
