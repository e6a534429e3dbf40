"""Configurations as TOML: a preset with changes, or a cluster and its policies written out.

name = "mine"                        # default: the file's name
base = "modserve"                    # optional: a preset; then [cluster] and every role may be left out

[cluster]
model = "InternVL2.5-26B"            # default: what the command line says
gpu = "H100"                         # likewise
link = "infiniband"                  # between servers; inside one it is NVLink
image_size = [896, 896]
servers = 2                          # default: as many as the pools need
server_gpus = 8
preprocess_workers = 0               # CPU workers that images pass first; 0: takes no time
repeat_window_s = 0.0                # image requests alike within it repeat one another; 0: all are new
embedding_cache_tokens = 0           # image tokens that a separate encoder keeps for repeats
prefix_cache_tokens = 0              # KV tokens that a prefill instance sets aside for repeats
encode_unit = "image"                # or "tile": encode work is cut down to tiles where the model encodes them apart
overlap_tokens = 0                   # smallest chunk prefilled while images are missing; 0: none before all are there
placement = "packed"                 # or "spread", or the server of each instance: [[1, 1, 1, 1], [0, 0]]

[[cluster.pools]]
stages = "E"                         # E | PD | EPD
instances = 4
tensor_parallel = 1
engine = "transformers"
most = 8                             # instances it may grow to, default: instances
gpu = "H100"                         # default: that of the cluster

[policies]
batching = "edf"                     # a policy at its defaults, or with knobs:
chunking = { name = "per_image", knobs = { fan_out = 8 } }
provisioning = "modserve_ceil"

[provisioning]                       # default: what simulator.provisioning.Provisioning says
gpu_cap = 32
interval_s = 15.0

[faults]                             # optional: what goes wrong, see simulator.faults
mtbf_s = 3600.0
loss = 0.001

[[faults.listed]]                    # one fault of one instance, written by hand
time_s = 60.0
instance = 0
kind = "crash"                       # crash | slow | link
seconds = 120.0
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from slackwise.errors import InputError, unknown
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.transfer import LINKS
from slackwise.policies.bundle import ACTORS, ROLES, Policies, PolicyChoice, required_roles
from slackwise.policies.keys import checked_keys
from slackwise.policies.knobs import parse_value
from slackwise.policies.registry import find
from slackwise.policies.winner import check_tuned_for, read_winner
from slackwise.simulator.cluster import Cluster, Pool
from slackwise.simulator.configuration import Configuration
from slackwise.simulator.faults import Faults
from slackwise.simulator.faults_file import fault_lines, faults_from, faults_from_text
from slackwise.simulator.presets import preset
from slackwise.simulator.provisioning import Provisioning, settings_from

KEYS = ("name", "base", "cluster", "policies", "provisioning", "faults")
WHOLE_NUMBERS = ("instances", "tensor_parallel", "most")
COUNTS = (
    "servers",
    "server_gpus",
    "preprocess_workers",
    "overlap_tokens",
    "embedding_cache_tokens",
    "prefix_cache_tokens",
)
CLUSTER_KEYS = tuple(each.name for each in fields(Cluster) if each.name != "moved")


def read_configuration(path: str | os.PathLike[str], model: str, gpu: str, gpus: int) -> Configuration:
    """The configuration in the TOML file `path`; `model`, `gpu` and `gpus` (of a base) where the file names none.

    Raises InputError if the file cannot be read, for an unknown key or name (naming the closest), for a value that is
    not allowed, and for what is missing.
    """
    file = Path(path)
    document = _document(file)
    try:
        return configuration_from({"name": file.stem} | document, model, gpu, gpus)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def _document(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{file} is not TOML: {error}") from None


def read_tuned(
    path: str | os.PathLike[str], model: str | None = None, gpu: str | None = None, force: bool = False
) -> Configuration:
    """The configuration in a winner.json, named after the file, for `model` and `gpu` (None: those it was tuned for).

    Raises InputError if it is no winner, or was tuned for others and is not forced, CheckError if its policies decide
    differently here.
    """
    winner = read_winner(path)
    model, gpu = model or winner.model, gpu or winner.gpu
    if not force:
        check_tuned_for(winner, model, gpu)
    table = _given({key: value for key, value in winner.cluster.items() if key in CLUSTER_KEYS})
    cluster = _cluster(table | {"model": model, "gpu": gpu}, model, gpu, None)
    return Configuration(Path(path).stem, cluster, winner.policies, settings_from(winner.provisioning, Provisioning()))


def configuration_from(document: Mapping[str, Any], model: str, gpu: str, gpus: int) -> Configuration:
    """The configuration of a parsed TOML document; see `read_configuration`."""
    base = "base" in document
    checked_keys("configuration", document, KEYS, required=["name"] if base else ["name", "cluster", "policies"])
    table = _table("cluster", document.get("cluster", {}))
    model, gpu = str(table.get("model", model)), str(table.get("gpu", gpu))
    start = preset(str(document["base"]), model, gpu, gpus) if base else None
    cluster = _cluster(table, load_model(model).name, load_gpu(gpu).name, start)
    policies = _policies(document.get("policies", {}), start)
    provisioning = settings_from(_table("provisioning", document.get("provisioning", {})), Provisioning())
    faults = faults_from(document.get("faults", {}))
    return Configuration(str(document["name"]), cluster, policies, provisioning, faults)


def read_faults(text: str) -> Faults:
    """Faults from the [faults] of a .toml file, or written as `mtbf_s=3600,loss=0.001`.

    Raises InputError for a file that cannot be read, an unknown key, or a value that is not allowed.
    """
    if not text.endswith(".toml"):
        return faults_from_text(text)
    document = _document(Path(text))
    checked_keys(text, document, KEYS, required=["faults"])
    return faults_from(document["faults"])


def write_toml(configuration: Configuration) -> str:
    """The configuration as TOML with nothing left to defaults; reading it gives the same configuration."""
    cluster = configuration.cluster
    lines = [f"name = {_value(configuration.name)}", "", "[cluster]"]
    lines += [
        f"{key} = {_value(getattr(cluster, key))}"
        for key in CLUSTER_KEYS
        if key != "pools" and getattr(cluster, key) is not None
    ]
    for pool in cluster.pools:
        lines += ["", "[[cluster.pools]]"]
        values = {each.name: getattr(pool, each.name) for each in fields(Pool)}
        lines += [f"{key} = {_value(value)}" for key, value in values.items() if value is not None]
    lines += ["", "[policies]"]
    for role, choice in configuration.policies.to_dict().items():
        knobs = ", ".join(f"{knob} = {_value(value)}" for knob, value in choice["knobs"].items())
        lines.append(f"{role} = {{ name = {_value(choice['name'])}{f', knobs = {{ {knobs} }}' if knobs else ''} }}")
    given = {key: value for key, value in asdict(configuration.provisioning).items() if value is not None}
    lines += ["", "[provisioning]", *(f"{key} = {_value(value)}" for key, value in given.items())]
    return "\n".join(lines + fault_lines(configuration.faults)) + "\n"


def _cluster(table: dict[str, Any], model: str, gpu: str, start: Configuration | None) -> Cluster:
    given = {key: value for key, value in table.items() if key not in ("model", "gpu")}
    checked_keys("cluster", table, CLUSTER_KEYS, required=[] if start else ["pools"])
    if "pools" in given:
        given["pools"] = _pools(given["pools"])
    if "image_size" in given:
        given["image_size"] = _image_size(given["image_size"])
    for key in COUNTS:
        if key in given and type(given[key]) is not int:
            raise InputError(f"cluster.{key} = {given[key]!r} must be a whole number")
    if type(given.get("repeat_window_s", 0.0)) not in (int, float):
        raise InputError(f"cluster.repeat_window_s = {given['repeat_window_s']!r} must be a number of seconds")
    if "placement" in given:
        given["placement"] = _placement(given["placement"])
    if "link" in given and given["link"] not in LINKS:
        raise unknown("link", str(given["link"]), LINKS)
    return replace(start.cluster, **given) if start else Cluster(model=model, gpu=gpu, **given)


def _pools(tables: Any) -> tuple[Pool, ...]:
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise InputError("cluster.pools is a list of tables: write [[cluster.pools]] above each")
    known = [each.name for each in fields(Pool)]
    for table in tables:
        checked_keys("cluster.pools", table, known, required=["stages", "instances"])
        for key, value in table.items():
            wanted, words = (int, "a whole number") if key in WHOLE_NUMBERS else (str, "text")
            if type(value) is not wanted:
                raise InputError(f"cluster.pools.{key} = {value!r} must be {words}")
    return tuple(Pool(**table) for table in tables)


def _image_size(value: Any) -> tuple[int, int]:
    if not (isinstance(value, list) and len(value) == 2 and all(type(each) is int and each > 0 for each in value)):
        raise InputError(f"cluster.image_size = {value!r} must be [width, height] in pixels")
    return value[0], value[1]


def _placement(value: Any) -> str | tuple[tuple[int, ...], ...]:
    lists = isinstance(value, list) and all(isinstance(each, list) for each in value)
    if isinstance(value, str):
        return value
    if not lists or not all(type(server) is int for each in value for server in each):
        raise InputError(
            f"cluster.placement = {value!r} must be a rule or, for each pool, the servers of its instances"
        )
    return tuple(tuple(each) for each in value)


def _policies(table: Any, start: Configuration | None) -> Policies:
    required = [] if start else required_roles()
    checked_keys("policies", _table("policies", table), ROLES, required)
    choices = {role: _choice(role, each) for role, each in table.items()}
    return replace(start.policies, **choices) if start else Policies(**choices)


def _choice(role: str, value: Any) -> PolicyChoice:
    """A role's policy: its name, or a table of name and knobs, where "none" stands for the None that TOML lacks."""
    table = {"name": value} if isinstance(value, str) else _table(f"policies.{role}", value)
    checked_keys(f"policies.{role}", table, ("name", "knobs"), required=["name"])
    if ":" in str(table["name"]):
        raise InputError(f"policies.{role} = '{table['name']}' is a module: name it on the command line")
    if role in ACTORS and str(table["name"]).endswith(".json"):
        return PolicyChoice(str(table["name"]))
    declared = find(ROLES[role], str(table["name"])).knobs
    knobs = _table(f"policies.{role}.knobs", table.get("knobs", {}))
    parsed = {
        name: parse_value(declared[name], each) if name in declared and isinstance(each, str) else each
        for name, each in knobs.items()
    }
    return PolicyChoice(str(table["name"]), parsed)


def _given(value: Any) -> Any:
    """JSON without its nulls, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _given(each) for key, each in value.items() if each is not None}
    return [_given(each) for each in value] if isinstance(value, list) else value


def _table(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what} must be a table, not {value!r}")
    return value


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_value(each) for each in value)}]"
    return '"none"' if value is None else json.dumps(value, ensure_ascii=False)
