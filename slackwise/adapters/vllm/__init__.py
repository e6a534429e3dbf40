"""The winner inside vLLM. Nothing of vLLM is imported before one of these is asked for.

    vllm serve MODEL --scheduler-cls slackwise.adapters.vllm.SlackwiseScheduler \
        --additional-config '{"slackwise": {"bundle": "winner.json"}}'
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

LAZY = {
    "SlackwiseScheduler": "slackwise.adapters.vllm.scheduler",
    "SlackwiseSyncScheduler": "slackwise.adapters.vllm.scheduler",
    "SlackwiseMixin": "slackwise.adapters.vllm.scheduler",
    "EmulatedExecutor": "slackwise.adapters.vllm.emulator",
}
"""Name -> module: what `--scheduler-cls` and `--distributed-executor-backend` may name."""


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(LAZY[name]), name)
