"""What `--additional-config '{"slackwise": {...}}'` may say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from slackwise.errors import InputError, unknown


@dataclass(frozen=True)
class Settings:
    """How the plug-in runs. Raises InputError for a value that is not allowed.

    `objectives` overrides those of the bundle: text_ttft_s, image_ttft_s, and `models`, the same for each LoRA adapter
    by its name. `longest_wait_s` is the guard against starvation: who has waited longer goes before all others, oldest
    first; null switches it off, and then the order is the policy's alone, as in the simulator.
    """

    bundle: str  # path of winner.json
    force: bool = False  # run although the bundle was tuned for another model or GPU, or vLLM is of an untested version
    latency: str | None = (
        None  # path of a latency profile (slackwise calibrate); None: the roofline of the bundle's model
    )
    correct_estimates: bool = True  # follow the speed that the engine shows
    longest_wait_s: float | None = 300.0
    objectives: Mapping[str, Any] = field(default_factory=dict)
    decisions: str | None = None  # write every decision here, for `slackwise explain`
    counters: str | None = None  # file of the counters, which the API server reads; None: in the temporary folder
    allow_modules: bool = False  # policies of the bundle may name module:function

    def __post_init__(self) -> None:
        for name in ("bundle", "latency", "decisions", "counters"):
            value = getattr(self, name)
            if not (value is None and name != "bundle") and not (isinstance(value, str) and value):
                raise InputError(f"slackwise.{name} = {value!r} must be a path")
        for name in ("force", "correct_estimates", "allow_modules"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"slackwise.{name} = {getattr(self, name)!r} must be true or false")
        if self.longest_wait_s is not None and not _positive(self.longest_wait_s):
            raise InputError(f"slackwise.longest_wait_s = {self.longest_wait_s!r} must be seconds above 0, or null")
        _check_objectives(self.objectives, "slackwise.objectives")


OBJECTIVES = ("text_ttft_s", "image_ttft_s")
"""Objectives of a class of requests, in seconds."""


def read_settings(additional_config: Any) -> Settings:
    """The settings in vLLM's additional_config. Raises InputError for an unknown key, or if no bundle is named."""
    document = additional_config.get("slackwise") if isinstance(additional_config, Mapping) else None
    if not isinstance(document, Mapping) or "bundle" not in document:
        raise InputError(
            "no bundle: the scheduler of slackwise needs "
            '--additional-config \'{"slackwise": {"bundle": "winner.json"}}\''
        )
    known = [each.name for each in fields(Settings)]
    for key in document:
        if key not in known:
            raise unknown("setting of slackwise", str(key), known)
    return Settings(**document)


def _check_objectives(document: Any, where: str, nested: bool = True) -> None:
    if not isinstance(document, Mapping):
        raise InputError(f"{where} must be an object, not {document!r}")
    known = (*OBJECTIVES, "models") if nested else OBJECTIVES
    for key, value in document.items():
        if key not in known:
            raise unknown(f"key of {where}", str(key), known)
        if key == "models":
            if not isinstance(value, Mapping):
                raise InputError(f"{where}.models must be an object, not {value!r}")
            for model, each in value.items():
                _check_objectives(each, f"{where}.models.{model}", nested=False)
        elif not _positive(value):
            raise InputError(f"{where}.{key} = {value!r} must be seconds above 0")


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


DEFAULTS = {each.name: each.default for each in fields(Settings) if each.default is not MISSING}
"""Defaults by name, as the documentation lists them."""
