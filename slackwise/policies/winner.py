"""winner.json: all that deployment needs. The policies, what they were tuned for, how they scored, and their proof."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numba
import numpy as np

import slackwise
from slackwise.errors import InputError
from slackwise.files import write_text
from slackwise.policies.bundle import Policies, checked_keys
from slackwise.policies.golden import Golden, golden_from, replay_golden
from slackwise.policies.golden_plan import GoldenPlan

FORMAT = 1
"""Version of the file format: a reader refuses a newer one."""


def versions() -> dict[str, str]:
    """Versions of what decides: slackwise, Python, NumPy, Numba."""
    python = platform.python_version()
    return {"slackwise": slackwise.__version__, "python": python, "numpy": np.__version__, "numba": numba.__version__}


@dataclass(frozen=True)
class Winner:
    """A tuned service. The dictionaries are free in their keys and must be JSON; a unit ends a key that needs one."""

    policies: Policies
    model: str  # as in latency/models.toml
    gpu: str  # as in latency/gpus.toml
    cluster: dict[str, Any]  # its shape: pools, instances, tensor parallelism
    objectives: dict[str, Any]  # the SLOs it was tuned for
    scores: dict[str, Any]  # what it reached, against what, with intervals
    versions: dict[str, str] = field(default_factory=versions)
    golden: tuple[Golden | GoldenPlan, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        made = {"policies": self.policies.to_dict(), "golden": [each.to_dict() for each in self.golden]}
        return {"format": FORMAT} | plain | made

    @classmethod
    def from_dict(cls, document: Any, modules: bool = False) -> Winner:
        """From the JSON form, replaying the golden decisions.

        Raises InputError for a newer format, an unknown or missing key, name or knob; CheckError if a decision differs.
        """
        names = [each.name for each in fields(cls)]
        _check_format(document)
        checked_keys("winner", document, ["format", *names], required=["format", *names])
        _check_kinds(document)
        policies = Policies.from_dict(document["policies"], modules)
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
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    return Winner.from_dict(document, modules)


def _check_format(document: Any) -> None:
    version = document.get("format") if isinstance(document, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise InputError(f"winner has format {version}, this slackwise reads up to {FORMAT}: install a newer one")
    if version != FORMAT:
        raise InputError(f"not a winner: format is {version!r}, expected {FORMAT}")


def _check_kinds(document: dict[str, Any]) -> None:
    kinds = {"model": str, "gpu": str, "golden": list}
    kinds |= dict.fromkeys(("cluster", "objectives", "scores", "versions"), dict)
    for name, kind in kinds.items():
        if not isinstance(document[name], kind):
            raise InputError(f"winner: {name} must be a {kind.__name__}, not {type(document[name]).__name__}")
