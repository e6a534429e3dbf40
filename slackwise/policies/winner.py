"""winner.json: all that deployment needs. The policies, what they were tuned for, how they scored, and their proof.

Formats: 1 had neither `provisioning` nor `actor`, `trace` and `provenance`, 2 no `router`; they are read as bundles
without them.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field, fields
from typing import Any

import numba
import numpy as np

import slackwise
from slackwise.errors import InputError
from slackwise.files import read_json, write_text
from slackwise.policies.bundle import ACTORS, Policies
from slackwise.policies.golden import Golden, golden_from, replay_golden
from slackwise.policies.golden_plan import GoldenPlan
from slackwise.policies.keys import checked_keys
from slackwise.policies.learned.actor import Actor

FORMAT = 3
"""Version of the file format: a reader refuses a newer one."""

ADDED: dict[int, dict[str, Any]] = {
    2: {"provisioning": {}, "actor": None, "trace": {}, "provenance": {}},
    3: {"router": None},
}
"""Format -> what it added, as a file of an older format is read."""


def versions() -> dict[str, str]:
    """Versions of what decides: slackwise, Python, NumPy, Numba."""
    python = platform.python_version()
    return {"slackwise": slackwise.__version__, "python": python, "numpy": np.__version__, "numba": numba.__version__}


@dataclass(frozen=True)
class Winner:
    """A tuned service. The dictionaries are free in their keys and must be JSON; a unit ends a key that needs one.

    Actors that the policies ask have sections of their own in the file: `actor` provisions, `router` routes.
    """

    policies: Policies
    model: str  # as in latency/models.toml
    gpu: str  # as in latency/gpus.toml
    cluster: dict[str, Any]  # its topology: pools, instances, tensor parallelism
    objectives: dict[str, Any]  # the SLOs it was tuned for
    scores: dict[str, Any]  # what it reached, against what, with intervals
    provisioning: dict[str, Any] = field(default_factory=dict)  # settings of the provisioning loop not at defaults
    trace: dict[str, Any] = field(default_factory=dict)  # what it was tuned on: source, window, sha256
    provenance: dict[str, Any] = field(default_factory=dict)  # how it was found: command, seed, trials, budget
    versions: dict[str, str] = field(default_factory=versions)
    golden: tuple[Golden | GoldenPlan, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        made: dict[str, Any] = {"policies": self.policies.to_dict()}
        for role, section in ACTORS.items():
            actor = getattr(self.policies, role).actor
            made[section] = actor and actor.to_dict()
        made["golden"] = [each.to_dict() for each in self.golden]
        return {"format": FORMAT} | plain | made

    @classmethod
    def from_dict(cls, document: Any, modules: bool = False) -> Winner:
        """From the JSON form, replaying the golden decisions.

        Raises InputError for a newer format, an unknown or missing key, name or knob; CheckError if a decision differs.
        """
        names = [each.name for each in fields(cls)]
        document = _upgraded(document)
        known = ["format", *ACTORS.values(), *names]
        checked_keys("winner", document, known, required=known)
        _check_kinds(document)
        actors = {role: Actor.from_dict(document[name]) for role, name in ACTORS.items() if document[name]}
        policies = Policies.from_dict(document["policies"], modules, actors)
        golden = tuple(golden_from(each) for each in document["golden"])
        replay_golden(policies, golden)
        return cls(**{name: document[name] for name in names} | {"policies": policies, "golden": golden})


def write_winner(path: str | os.PathLike[str], winner: Winner) -> None:
    """Write `winner` to `path`, whole or not at all. Raises InputError if it is not JSON or cannot be written."""
    try:
        text = json.dumps(winner.to_dict(), indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the winner cannot be written as JSON: {error}") from None
    write_text(path, text + "\n")


def read_winner(path: str | os.PathLike[str], modules: bool = False) -> Winner:
    """The winner at `path`, its golden decisions replayed bit for bit.

    Raises InputError if it cannot be read or is not valid, CheckError if the policies here decide differently.
    """
    document = read_json(path)
    return Winner.from_dict(document, modules)


def check_tuned_for(winner: Winner, model: str, gpu: str) -> None:
    """Raise InputError if the winner was tuned for another model or GPU; names as in the catalogues."""
    for what, wanted, has in (("model", model, winner.model), ("GPU", gpu, winner.gpu)):
        if wanted != has:
            raise InputError(
                f"the winner was tuned for {what} {has}, not {wanted}: it has to be forced (--force-bundle)"
            )


def _upgraded(document: Any) -> Any:
    """The document in today's format. Raises InputError if it has a newer one, or none."""
    version = document.get("format") if isinstance(document, dict) else None
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"not a winner: format is {version!r}, expected 1 to {FORMAT}")
    if version > FORMAT:
        raise InputError(f"winner has format {version}, this slackwise reads up to {FORMAT}: install a newer one")
    for later in range(version + 1, FORMAT + 1):
        document = {**document, **ADDED[later]}
    return {**document, "format": FORMAT}


def _check_kinds(document: dict[str, Any]) -> None:
    kinds = {"model": str, "gpu": str, "golden": list}
    tables = ("cluster", "objectives", "scores", "versions", "provisioning", "trace", "provenance")
    kinds |= dict.fromkeys(tables, dict)
    kinds |= {name: dict for name in ACTORS.values() if document[name] is not None}
    for name, kind in kinds.items():
        if not isinstance(document[name], kind):
            raise InputError(f"winner: {name} must be a {kind.__name__}, not {type(document[name]).__name__}")
