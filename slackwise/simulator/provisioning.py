"""Provisioning over time: how a configuration lets its fleet grow and shrink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from slackwise.errors import InputError, unknown
from slackwise.simulator.cluster import Cluster


@dataclass(frozen=True)
class Provisioning:
    """What holds whatever the provisioning policy; None is explained beside each. Raises InputError for a bad value."""

    interval_s: float | None = None  # seconds between two questions; None: as the policy declares
    start_s: float | None = None  # seconds from the order to a ready instance; None: as the latency model says
    role_switch_s: float | None = None  # seconds of role switches; None: as the policy says, which may be none at all
    gpu_cap: int | None = None  # GPUs of all pools together; None: those that the cluster begins with
    least: int = 1  # instances of each pool, at least

    def __post_init__(self) -> None:
        if self.interval_s is not None and not 0 < self.interval_s < float("inf"):
            raise InputError(f"provisioning.interval_s = {self.interval_s!r} must be positive and finite")
        for name in ("start_s", "role_switch_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise InputError(f"provisioning.{name} = {value!r} must be 0 or more and finite")
        if self.least < 1:
            raise InputError(f"provisioning.least = {self.least} must be at least 1")


NAMES = tuple(each.name for each in fields(Provisioning))
WHOLE_NUMBERS = ("gpu_cap", "least")


def settings_from(table: Mapping[str, Any], start: Provisioning) -> Provisioning:
    """`start` with the settings of a table. Raises InputError for an unknown key or a value of another kind."""
    for name, value in table.items():
        if name not in NAMES:
            raise unknown("key of provisioning", str(name), NAMES)
        allowed, words = (int, "a whole number") if name in WHOLE_NUMBERS else (int | float, "a number")
        if isinstance(value, bool) or not isinstance(value, allowed):
            raise InputError(f"provisioning.{name} = {value!r} must be {words}")
    return replace(start, **table)


def given_settings(settings: Provisioning) -> dict[str, Any]:
    """Those that are not at their defaults, as `settings_from` takes them."""
    defaults = Provisioning()
    return {name: getattr(settings, name) for name in NAMES if getattr(settings, name) != getattr(defaults, name)}


def setting_of(text: str) -> tuple[str, float] | None:
    """(name, value) if `text` is `provisioning.NAME=VALUE` with one of the settings, as `--set` writes it.

    Raises InputError if the value is no number.
    """
    path, _, value = text.partition("=")
    name = path.strip().removeprefix("provisioning.")
    if name == path.strip() or name not in NAMES:
        return None
    try:
        return name, int(value) if name in WHOLE_NUMBERS else float(value)
    except ValueError:
        raise InputError(f"provisioning.{name} = {value.strip()!r} must be a number") from None


def check_exchangeable(cluster: Cluster) -> None:
    """Raise InputError for several kinds of GPUs, which cannot take each other's place under one cap.

    Policies count GPUs; a function of the caller's own that knows its pools may change such a fleet.
    """
    if not cluster.one_gpu:
        raise InputError(
            "provisioning changes fleets of one kind of GPU only: name one gpu for all pools, or fixed_ratio"
        )


def gpu_cap(settings: Provisioning, cluster: Cluster) -> int:
    """GPUs that all pools may hold together. Raises InputError if the cluster begins with more."""
    cap = cluster.gpus if settings.gpu_cap is None else settings.gpu_cap
    if cap < cluster.gpus:
        raise InputError(
            f"provisioning.gpu_cap = {cap} is less than the {cluster.gpus} GPUs that the cluster begins with"
        )
    return cap


def roomy(settings: Provisioning, cluster: Cluster) -> Cluster:
    """The cluster with a ceiling for each pool that names none: what the cap leaves if the others have their least."""
    cap, pools = gpu_cap(settings, cluster), cluster.pools
    least = [settings.least * pool.tensor_parallel for pool in pools]
    room = [(cap - sum(least) + own) // pool.tensor_parallel for pool, own in zip(pools, least, strict=True)]
    grown = tuple(
        pool if pool.most is not None else replace(pool, most=max(pool.instances, most))
        for pool, most in zip(pools, room, strict=True)
    )
    return replace(cluster, pools=grown)
