"""The services of the experiments: the paper's four steps, today's vLLM, and what was tuned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from slackwise.simulator import Configuration, disaggregated, preset
from slackwise.tuning.reproduce.setting import Setting
from slackwise.tuning.space import LOT, LOTS, Space

MONOLITH, DECOUP, SCHED, ROUTING = "monolith", "Decoup", "+ Sched", "+ Routing"
TODAY, TUNED, TUNED_TODAY = "vLLM today", "tuned", "tuned, vLLM today"
STEPS = (MONOLITH, DECOUP, SCHED, ROUTING)

SCHEDULING = ("encode_batching=modality_size_priority", "batching=modality_size_priority")
"""Short text first, then the smaller prompt."""

NO_LATER, NO_LATER_TODAY = "tuned, no later", "tuned, no later, vLLM today"
"""Tuned for attainment as well, but with a mean and P99 TTFT below ModServe's."""

Tuned = Mapping[str, Mapping[str, Sequence[Configuration]]]
"""Model -> name of what was tuned -> the services that searches found, one a fleet."""


def monolith(setting: Setting, model: str, gpus: int) -> Configuration:
    """The paper's baseline: vLLM 0.7.2 on TP-4 monoliths."""
    given = preset("vllm-0.7", model, setting.gpu, gpus)
    pools = tuple(replace(pool, engine=setting.engine) for pool in given.cluster.pools)
    return replace(given, name=MONOLITH, cluster=replace(given.cluster, pools=pools))


def steps(
    setting: Setting, model: str, gpus: int, chunking: str = "per_image", router: str = "least_requests"
) -> dict[str, Configuration]:
    """The ablation: monolith, pools apart, scheduling, routing. `chunking` and `router` are those before routing."""
    first = monolith(setting, model, gpus)
    first = replace(first, policies=first.policies.changed([f"routing={router}"]))
    given = modserve(setting, model, gpus)
    plain = first.policies.changed([f"encode_routing={router}", f"chunking={chunking}"])
    made = {
        DECOUP: replace(given, policies=plain),
        SCHED: replace(given, policies=plain.changed(SCHEDULING)),
        ROUTING: given,
    }
    return {MONOLITH: first} | {name: replace(each, name=name) for name, each in made.items()}


def modserve(setting: Setting, model: str, gpus: int, text_instances: int | None = None) -> Configuration:
    """All of the paper's rules on its engine, in its ratio of pools or another."""
    given = preset("modserve", model, setting.gpu, gpus)
    pools = disaggregated(model, setting.gpu, gpus, text_instances, setting.engine).pools
    return Configuration(ROUTING, replace(given.cluster, pools=pools), given.policies)


def others(
    setting: Setting, model: str, gpus: int, tuned: Tuned, names: Sequence[str] = (TUNED, TUNED_TODAY)
) -> dict[str, Configuration]:
    """What the paper does not have: today's vLLM, and those of `names` that were tuned."""
    today = replace(preset("vllm", model, setting.gpu, gpus), name=TODAY)
    return {TODAY: today} | tuned_for(model, gpus, tuned, names)


def tuned_for(
    model: str, gpus: int, tuned: Tuned, names: Sequence[str] = (TUNED, TUNED_TODAY)
) -> dict[str, Configuration]:
    """What was tuned on the fleet nearest in size, in its own ratio of pools on `gpus` GPUs."""
    found = tuned.get(model, {})
    return {name: resized(_nearest(found[name], gpus), name, gpus) for name in names if name in found}


def resized(configuration: Configuration, name: str, gpus: int) -> Configuration:
    """A service on another number of GPUs, in its own ratio of pools."""
    return Space(configuration, {}).configuration({LOTS: gpus // LOT}, name)


def _nearest(services: Sequence[Configuration], gpus: int) -> Configuration:
    return min(services, key=lambda each: abs(math.log(each.cluster.gpus / gpus)))
