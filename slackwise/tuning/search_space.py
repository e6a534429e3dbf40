"""What a small search may change of a service: where its GPUs stand, and the policies with their knobs.

Every choice begins with its default, what a vLLM user runs today, so trial 0 is the service as it stands. The engine
is never changed: instances with the LLM run today's vLLM rules, separate encoders one job at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from slackwise.policies.bundle import ROLES
from slackwise.policies.knobs import Choice, IntRange, Knob, Value
from slackwise.policies.registry import find
from slackwise.simulator import Configuration, disaggregated, preset
from slackwise.simulator.presets import TENSOR_PARALLEL

Choices = Mapping[str, tuple[str, ...]]
"""Policy -> which of its knobs are searched; the first policy is the default."""

TEXT_INSTANCES = "text_instances"
"""Parameter of a trial: LLM instances of TP-4 beside encoders of TP-1 on the other GPUs; 0 = monoliths."""

DEFAULT = "vllm"
"""The preset that trial 0 is."""

_SLACK = ("aging", "late")  # `quantile` moves nothing while predictions are exact

LLM_CHOICES: Mapping[str, Choices] = {
    "routing": {"least_requests": (), "least_text_tokens": (), "least_total_tokens": (), "predicted_completion": ()},
    "batching": {"fcfs": (), "modality_size_priority": (), "least_slack": _SLACK},
}
"""Roles on every service."""

ENCODER_CHOICES: Mapping[str, Choices] = {
    "encode_routing": {
        "least_requests": (),
        "least_image_tokens": (),
        "least_padded_tiles": (),
        "predicted_completion": (),
    },
    "encode_batching": {"fcfs": (), "modality_size_priority": (), "least_slack": _SLACK},
    "chunking": {"none": (), "per_image": (), "k_images": ("images",), "tile_budget": ("tiles",)},
}
"""Roles only where encoders stand apart: a monolith's images are cut by its engine's encoder budget."""


@dataclass(frozen=True)
class Candidate:
    """A service that a trial tries: a layout of the GPUs and settings as `--set` writes them."""

    text_instances: int  # 0 = monoliths
    settings: tuple[str, ...]

    def configuration(self, name: str, model: str, gpu: str, gpus: int) -> Configuration:
        """The candidate as a configuration. Raises InputError if the layout does not fit `gpus`."""
        default = preset(DEFAULT, model, gpu, gpus)
        cluster = default.cluster
        if self.text_instances:
            cluster = disaggregated(model, gpu, gpus, self.text_instances)
        return Configuration(name, cluster, default.policies.changed(self.settings))

    def without(self) -> dict[str, Candidate]:
        """The candidate with one thing at a time put back to its default, by what is put back."""
        found = {}
        if self.text_instances:
            found["encoders with the LLM, on monoliths"] = replace(self, text_instances=0)
        for role, choices in {**LLM_CHOICES, **ENCODER_CHOICES}.items():
            default, mine = (
                next(iter(choices)),
                [each for each in self.settings if each.startswith((f"{role}=", f"{role}."))],
            )
            if mine and mine != [f"{role}={default}"]:
                rest = tuple(each for each in self.settings if each not in mine)
                found[f"{role}={default}"] = replace(self, settings=(*rest, f"{role}={default}"))
        return found


def layouts(gpus: int) -> tuple[int, ...]:
    """The values of TEXT_INSTANCES on `gpus` GPUs, the default first: at least one GPU is left to the encoders."""
    return (0, *range(1, (gpus - 1) // TENSOR_PARALLEL + 1))


def suggest(trial: Any, gpus: int) -> Candidate:
    """The candidate that an Optuna trial suggests."""
    text_instances = trial.suggest_categorical(TEXT_INSTANCES, layouts(gpus))
    roles = {**LLM_CHOICES, **(ENCODER_CHOICES if text_instances else {})}
    settings = [setting for role, choices in roles.items() for setting in _role_settings(trial, role, choices)]
    return Candidate(int(text_instances), tuple(settings))


def default_parameters() -> dict[str, Value]:
    """Parameters of trial 0: the default of every choice that today's service has."""
    return {TEXT_INSTANCES: 0} | {role: next(iter(choices)) for role, choices in LLM_CHOICES.items()}


def published_parameters(gpus: int) -> dict[str, Value]:
    """Parameters of trial 1: ModServe's rules (SoCC 2025) on today's engine, in the ratio nearest to the paper's."""
    return {
        TEXT_INSTANCES: min(layouts(gpus)[-1], max(1, gpus // 8)),
        "routing": "least_total_tokens",
        "batching": "modality_size_priority",
        "encode_routing": "least_image_tokens",
        "encode_batching": "modality_size_priority",
        "chunking": "per_image",
    }


def slack_parameters(gpus: int) -> dict[str, Value]:
    """Parameters of trial 2: slack everywhere, late requests demoted, work sent to where it completes first."""
    parameters: dict[str, Value] = {TEXT_INSTANCES: layouts(gpus)[-1], "chunking": "per_image"}
    for role in ("routing", "encode_routing"):
        parameters[role] = "predicted_completion"
    for role in ("batching", "encode_batching"):
        parameters |= {role: "least_slack", f"{role}.least_slack.aging": 0.0, f"{role}.least_slack.late": "demote"}
    return parameters


def _role_settings(trial: Any, role: str, choices: Choices) -> list[str]:
    name = trial.suggest_categorical(role, list(choices))
    knobs = find(ROLES[role], name).knobs
    values = {knob: _value(trial, f"{role}.{name}.{knob}", knobs[knob]) for knob in choices[name]}
    return [f"{role}={name}", *(f"{role}.{knob}={value}" for knob, value in values.items())]


def _value(trial: Any, name: str, knob: Knob) -> Value:
    facts = knob.describe()
    if isinstance(knob, Choice):
        value: Value = trial.suggest_categorical(name, facts["choices"])
    elif isinstance(knob, IntRange):
        value = trial.suggest_int(name, facts["low"], facts["high"], log=facts["log"])
    else:
        value = round(trial.suggest_float(name, facts["low"], facts["high"], log=facts["log"]), 3)
    return value
