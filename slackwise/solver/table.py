"""The capacity table: what each kind of instance serves within the objectives, measured once and kept in a file.

A curve says, for one kind, one modality and one size of the pool, how late first tokens and how slow next tokens are at
each rate that was tried: as a quantile over requests of latency / the request's own objective. From it follows the
capacity at any share of the TTFT objective, and with delays inflated by kappa, without measuring again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from slackwise.errors import GapError, InputError
from slackwise.files import write_text
from slackwise.policies.keys import checked_keys
from slackwise.solver.provisioning.data import Kind

FORMAT = "slackwise-capacity/2"
TEXT, IMAGE = "text", "image"
MODALITIES = (TEXT, IMAGE)


@dataclass(frozen=True)
class Curve:
    """What each instance of a pool does at rising rates of one modality; columns of the same length."""

    kind: int  # index into the table's kinds
    modality: str
    instances: int  # of the pool, all of this kind
    saturation_rps: float  # what the latency model alone says: no waiting, no overhead that steps share
    rates_rps: tuple[float, ...]  # of an instance
    ttft_ratio: tuple[float, ...]  # quantile of (this instance's part of the TTFT) / (TTFT objective)
    tbt_ratio: tuple[float, ...]  # quantile of TBT / TBT objective

    def capacity_rps(self, share: float, kappa: float = 1.0) -> float:
        """The highest rate measured, all lower ones included, at which kappa x TTFT stays within `share`; 0 if none."""
        best = 0.0
        for rate, ttft, tbt in zip(self.rates_rps, self.ttft_ratio, self.tbt_ratio, strict=True):
            if kappa * ttft > share or kappa * tbt > 1.0:
                break
            best = rate
        return best


@dataclass(frozen=True)
class CapacityTable:
    """Curves of kinds under one model and one set of objectives, and where they are from."""

    model: str
    kinds: tuple[Kind, ...]
    curves: tuple[Curve, ...]
    quantile: float  # share of requests that a capacity keeps within the objectives
    images_per_request: float  # mean of the image requests measured
    objectives: Mapping[str, Any]
    source: str

    @property
    def largest(self) -> int:
        """Instances of the largest pool that was measured."""
        return max((each.instances for each in self.curves), default=1)

    def pools(self, kind: int, modality: str) -> tuple[Curve, ...]:
        """The curves of a kind by the size of the pool. Raises GapError if that of one instance is missing."""
        found = [each for each in self.curves if (each.kind, each.modality) == (kind, modality)]
        if not any(each.instances == 1 for each in found):
            raise GapError(f"the capacity table has no {modality} curve of {self.kinds[kind].name} by itself")
        return tuple(sorted(found, key=lambda each: each.instances))

    def of_kinds(self, chosen: Sequence[Kind]) -> CapacityTable:
        """The table of these kinds alone, which it must have, numbered in their order."""
        place = {self.kinds.index(kind): at for at, kind in enumerate(chosen)}
        curves = tuple(replace(each, kind=place[each.kind]) for each in self.curves if each.kind in place)
        return replace(self, kinds=tuple(chosen), curves=curves)

    def joined(self, other: CapacityTable) -> CapacityTable:
        """This table and the curves of the further kinds of `other`, measured alike."""
        moved = tuple(replace(each, kind=each.kind + len(self.kinds)) for each in other.curves)
        return replace(self, kinds=self.kinds + other.kinds, curves=self.curves + moved)

    def to_json(self) -> dict[str, Any]:
        """The JSON document; an infinite ratio (never served) is null."""
        document = asdict(self) | {"format": FORMAT}
        for curve in document["curves"]:
            for name in ("ttft_ratio", "tbt_ratio"):
                curve[name] = [each if math.isfinite(each) else None for each in curve[name]]
        return document


def write_table(path: Path, table: CapacityTable) -> None:
    """Write a table, whole or not at all."""
    write_text(path, json.dumps(table.to_json(), indent=1, allow_nan=False) + "\n")


def read_table(path: Path) -> CapacityTable:
    """Read a table. Raises InputError if the file is none, GapError if a curve has a gap."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a capacity table: {error}") from None
    try:
        return table_from(document)
    except GapError as error:
        raise GapError(f"{path}: {error}") from None
    except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not a capacity table: {error}") from None


def table_from(document: Any) -> CapacityTable:
    """A table from its JSON document. Raises InputError or GapError for what is wrong with it."""
    names = [each.name for each in fields(CapacityTable)]
    checked_keys("capacity table", document, [*names, "format"], [*names, "format"])
    if document["format"] != FORMAT:
        raise InputError(f"format is {document['format']!r}, not {FORMAT!r}")
    kinds = tuple(Kind(**each) for each in document["kinds"])
    if not kinds:
        raise GapError("the capacity table has no kind of instance")
    curves = tuple(_curve(each, kinds) for each in document["curves"])
    rest = {name: document[name] for name in names if name not in ("kinds", "curves")}
    return CapacityTable(kinds=kinds, curves=curves, **rest)


def _curve(document: Mapping[str, Any], kinds: Sequence[Kind]) -> Curve:
    checked_keys("curve", document, [each.name for each in fields(Curve)], [each.name for each in fields(Curve)])
    columns = [document[name] for name in ("rates_rps", "ttft_ratio", "tbt_ratio")]
    kind = document["kind"]
    if not 0 <= kind < len(kinds) or document["modality"] not in MODALITIES:
        raise InputError(f"a curve of kind {kind}, {document['modality']}: no such kind or modality")
    if len({len(each) for each in columns}) != 1 or any(each is None for each in columns[0]):
        raise GapError(f"the {document['modality']} curve of {kinds[kind].name} has a gap")
    rates = tuple(float(each) for each in columns[0])
    if list(rates) != sorted(rates) or any(not each > 0 for each in rates):
        raise InputError(f"the rates of {kinds[kind].name}, {document['modality']}, must rise from above 0")
    ratios = [tuple(math.inf if each is None else float(each) for each in column) for column in columns[1:]]
    instances = document["instances"]
    if isinstance(instances, bool) or not isinstance(instances, int) or instances < 1:
        raise InputError(f"a curve of {kinds[kind].name} is of a pool of {instances!r} instances: 1 or more are needed")
    saturation = float(document["saturation_rps"])
    return Curve(kind, document["modality"], instances, saturation, rates, ratios[0], ratios[1])
