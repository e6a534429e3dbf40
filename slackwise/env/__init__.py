"""The Gymnasium face of the simulator: importing this registers the environments. Needs the extra `env`.

import gymnasium, slackwise.env
env = gymnasium.make("slackwise/Provision-v0", model="InternVL2.5-26B", gpus=16)
"""

from __future__ import annotations

from slackwise.optional import require

IDS = {
    "slackwise/Provision-v0": ("slackwise.env.provision:ProvisionEnv", "slackwise.env.vector:ProvisionVectorEnv"),
    "slackwise/Knobs-v0": ("slackwise.env.knobs:KnobsEnv", "slackwise.env.vector:KnobsVectorEnv"),
    "slackwise/Dispatch-v0": ("slackwise.env.dispatch:DispatchEnv", None),
}
"""Id -> the environment, and its vectorised form if it has one of its own."""


def _register() -> None:
    registration = require("gymnasium.envs.registration", "env")
    for name, (entry, vector) in IDS.items():
        if name not in registration.registry:
            registration.register(name, entry_point=entry, vector_entry_point=vector)


_register()
