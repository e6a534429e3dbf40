"""cluster.toml: where a bundle is to run. What the bundle says of itself (pools, policies) is not repeated here.

model = "OpenGVLab/InternVL2_5-26B"  # name or path, as vLLM takes it
gpus = 16                            # that all pools may hold together

served_name = "internvl"             # default: `model`
server_gpus = 8                      # GPUs of a server
host = "127.0.0.1"                   # where the endpoint listens; anything else is reachable by others
port = 8000
instance_port = 8100                 # of the first instance of `vllm serve`; the next ones count on
bundle = "/etc/slackwise/winner.json"  # path of the bundle on the servers; default: beside the files that are written
embeddings = "/dev/shm/slackwise"    # folder that encoders and text instances share
ec_connector = "ECExampleConnector"
kv_connector = "NixlConnector"
api_key_env = "SLACKWISE_API_KEY"    # variable of the environment that holds the key which clients have to bring; the
                                     # key itself is in no file; default: none is asked for
images_per_request = 16
body_bytes = 33554432
requests_at_once = 1024              # under way behind the endpoint; one more is answered with 429
decisions = "/var/log/slackwise"     # folder where routers write every decision and what they knew; default: nowhere
force = false                        # true: engines take a bundle that was tuned for another model or GPU
advisory = false                     # provisioning says what it would do, and does nothing
namespace = "default"                # Kubernetes
scaler_address = "slackwise-scaler.default.svc:6000"  # host:port of the external scaler, as KEDA reaches it
router_weights = true                # llm-d configuration: true refuses a bundle that it cannot express, false leaves
                                     # it out; default: it is written where the bundle can be expressed

[engine]                             # arguments of every `vllm serve`, by the names of vLLM's engine arguments
max_model_len = 16384
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from slackwise.errors import InputError
from slackwise.policies.keys import checked_keys

KINDS = {"str": str, "int": int, "bool": bool, "str | None": str, "bool | None": bool}
LIMITS = {
    "gpus": (1, 100_000),
    "server_gpus": (1, 64),
    "port": (1, 65_535),
    "instance_port": (1, 60_000),
    "images_per_request": (1, 256),
    "body_bytes": (1024, 1 << 30),
    "requests_at_once": (1, 100_000),
}
"""Least and most of what is a number."""

OURS = (
    "model",
    "port",
    "host",
    "tensor_parallel_size",
    "served_model_name",
    "scheduler_cls",
    "additional_config",
    "ec_transfer_config",
    "kv_transfer_config",
)
"""Engine arguments that come from the bundle or from other keys."""


@dataclass(frozen=True)
class Target:
    """A cluster to deploy to; every key is explained above. Raises InputError for a value that is not allowed."""

    model: str
    gpus: int
    served_name: str | None = None
    server_gpus: int = 8
    host: str = "127.0.0.1"
    port: int = 8000
    instance_port: int = 8100
    bundle: str | None = None
    embeddings: str = "/dev/shm/slackwise"
    ec_connector: str = "ECExampleConnector"
    kv_connector: str = "NixlConnector"
    api_key_env: str | None = None
    images_per_request: int = 16
    body_bytes: int = 32 * 2**20
    requests_at_once: int = 1024
    decisions: str | None = None
    force: bool = False
    advisory: bool = False
    namespace: str = "default"
    scaler_address: str = "slackwise-scaler.default.svc:6000"
    router_weights: bool | None = None
    engine: Mapping[str, bool | int | float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in Target.__annotations__.items():
            value = getattr(self, name)
            if kind in KINDS and not (value is None and kind.endswith("None")):
                _check(name, value, KINDS[kind])
        if not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", self.host):
            raise InputError(f"cluster.host = {self.host!r} is no address")
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", self.namespace):
            raise InputError(f"cluster.namespace = {self.namespace!r} is no name of a Kubernetes namespace")
        if not re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", self.scaler_address):
            raise InputError(f"cluster.scaler_address = {self.scaler_address!r} must be host:port")
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise InputError(f"cluster.api_key_env = {self.api_key_env!r} is no name of a variable")
        _check_engine(self.engine)

    @property
    def name(self) -> str:
        """What clients call the model."""
        return self.served_name or self.model


def key_of(name: str | None, environment: Mapping[str, str]) -> str | None:
    """The key in the variable `name` of an environment, None without a name. Raises InputError if it holds none."""
    if name is None:
        return None
    if not (key := environment.get(name, "").strip()):
        raise InputError(f"{name} holds no key: export it before the application starts")
    return key


def read_target(path: str | os.PathLike[str]) -> Target:
    """The cluster in a TOML file.

    Raises InputError if it cannot be read, for an unknown key (naming the closest) and for what is missing.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    needed = [each.name for each in fields(Target) if each.default is MISSING and each.default_factory is MISSING]
    try:
        checked_keys("cluster", document, [each.name for each in fields(Target)], needed)
        return Target(**document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check(name: str, value: Any, kind: type) -> None:
    right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    if not right:
        raise InputError(f"cluster.{name} = {value!r} must be {'text' if kind is str else f'of type {kind.__name__}'}")
    if kind is str and (not value or any(ord(each) < 32 for each in value)):
        raise InputError(f"cluster.{name} must be text of one line")
    if name in LIMITS and not LIMITS[name][0] <= value <= LIMITS[name][1]:
        raise InputError(f"cluster.{name} = {value} must be {LIMITS[name][0]} to {LIMITS[name][1]}")


def _check_engine(engine: Any) -> None:
    if not isinstance(engine, Mapping):
        raise InputError(f"cluster.engine must be a table, not {engine!r}")
    for name, value in engine.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise InputError(f"cluster.engine.{name} is no name of an engine argument: max_model_len, for instance")
        if name in OURS:
            raise InputError(f"cluster.engine.{name} is set by the bundle or by another key")
        if not isinstance(value, bool | int | float | str):
            raise InputError(f"cluster.engine.{name} = {value!r} must be a number, text, true or false")
