"""Plain `vllm serve` command lines: one an instance, with the scheduler plug-in and the connectors of its stages."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from slackwise.adapters.ray.fleet import FleetPool, Placed
from slackwise.adapters.ray.target import Target
from slackwise.policies.features import DECODE, ENCODE, PREFILL

SCHEDULER = "slackwise.adapters.vllm.SlackwiseScheduler"


def engine_arguments(pool: FleetPool, target: Target, bundle: str) -> dict[str, Any]:
    """Engine arguments of an instance by vLLM's names, for `vllm serve` and for Ray's LLMConfig."""
    arguments: dict[str, Any] = {"tensor_parallel_size": pool.tensor_parallel, **target.engine}
    arguments["limit_mm_per_prompt"] = {"image": target.images_per_request}
    if pool.encodes_only:
        arguments |= {"mm_encoder_only": True, "enforce_eager": True, "enable_prefix_caching": False}
    else:
        settings = {"bundle": bundle, "force": target.force}
        arguments |= {"scheduler_cls": SCHEDULER, "additional_config": {"slackwise": settings}}
    if (role := _role(pool, ENCODE, PREFILL)) is not None:
        shared = {"shared_storage_path": target.embeddings}
        arguments["ec_transfer_config"] = {
            "ec_connector": target.ec_connector,
            "ec_role": f"ec_{role}",
            "ec_connector_extra_config": shared,
        }
    if (role := _role(pool, PREFILL, DECODE)) is not None:
        arguments["kv_transfer_config"] = {"kv_connector": target.kv_connector, "kv_role": f"kv_{role}"}
    return arguments


def _role(pool: FleetPool, made: int, used: int) -> str | None:
    """What an instance is to what one stage makes and another uses: None if it does both or neither."""
    makes, uses = bool(pool.stages & made), bool(pool.stages & used)
    return None if makes == uses else "producer" if makes else "consumer"


def command(placed: Placed, port: int, target: Target, bundle: str) -> str:
    """The command line of one instance, quoted for a shell."""
    arguments = {"host": target.host, "port": port, **engine_arguments(placed.pool, target, bundle)}
    words = ["vllm", "serve", *serve_words(target.model, target.name, arguments)]
    gpus = ",".join(map(str, placed.gpus))
    key = "" if target.api_key_env is None else f'VLLM_API_KEY="${target.api_key_env}" '
    return f"{key}CUDA_VISIBLE_DEVICES={gpus} {shlex.join(words)}"


def serve_words(model: str, name: str, arguments: Mapping[str, Any]) -> list[str]:
    """What follows `vllm serve` for a model, what clients call it, and engine arguments by vLLM's names."""
    options = [word for option, value in arguments.items() for word in _option(option, value)]
    return [model, "--served-model-name", name, *options]


def _option(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [option if value else f"--no-{option.removeprefix('--')}"]
    return [option, json.dumps(value) if isinstance(value, dict) else str(value)]


def script(instances: Sequence[Placed], target: Target, bundle: str) -> str:
    """All command lines, by server. It is read and copied from, not run as it stands: every line is for its server."""
    lines = [f"# {target.model} as {target.name}: one line an instance. Paths are those on the servers."]
    for server in sorted({each.server for each in instances}):
        lines += ["", f"# server {server}"]
        for at, each in enumerate(instances):
            if each.server == server:
                lines += [f"# {each.name}", command(each, target.instance_port + at, target, bundle)]
    return "\n".join(lines) + "\n"
