"""The capacity table of a plan: read from its file, or measured and kept in the user's cache, kind by kind."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.errors import GapError, InputError
from slackwise.policies.winner import versions
from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.solver.measure import default_kinds, measure
from slackwise.solver.provisioning.data import Kind
from slackwise.solver.request import PlanRequest
from slackwise.solver.result import fingerprint
from slackwise.solver.table import CapacityTable, read_table, write_table
from slackwise.traces import Trace

Report = Callable[[str], None]


def capacity_table(trace: Trace, request: PlanRequest, report: Report) -> CapacityTable:
    """The table at `request.table_path`, or of the user's cache, of the kinds asked for and at their prices.

    A file that does not exist is measured and written; to the cache, kinds that it lacks are added. Raises InputError
    for a table of another model, GapError for one that lacks a kind that was asked for.
    """
    path = request.table_path or _cache(trace, request)
    if request.table_path is not None and path.exists():
        table = read_table(path)
        _check_table(path, table, request)
        found = table.of_kinds(_asked(path, table, request))
    else:
        found = _measured(path, trace, request, report)
    return found if request.hardware.prices is None else _priced(found, request)


def _measured(path: Path, trace: Trace, request: PlanRequest, report: Report) -> CapacityTable:
    """The table of all kinds that the request allows, those that are kept already not measured again."""
    wanted = allowed_kinds(request)
    kept = read_table(path) if path.exists() else None
    missing = [kind for kind in wanted if kept is None or kind not in kept.kinds]
    if missing:
        more = measure(
            trace,
            request.model,
            missing,
            request.objectives(),
            request.target,
            seed=request.seed,
            progress=report,
            reference=request.reference(),
        )
        kept = more if kept is None else kept.joined(more)
        if request.table_path is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_table(path, kept)
    assert kept is not None
    return kept.of_kinds(wanted)


def allowed_kinds(request: PlanRequest) -> tuple[Kind, ...]:
    """Stage letters x tensor parallelism x batch x GPU type, as far as they fit the model."""
    hardware = request.hardware
    stages = [TOPOLOGIES[each] for each in request.topologies]
    given = {"parallel": hardware.parallel, "batches": hardware.batches, "encoder_batches": hardware.encoder_batches}
    chosen = {name: each for name, each in given.items() if each is not None}
    return tuple(kind for gpu in hardware.gpus for kind in default_kinds(request.model, gpu, stages, **chosen))


def _asked(path: Path, table: CapacityTable, request: PlanRequest) -> list[Kind]:
    """Kinds of a table that the request allows, at least one of each value that it names."""
    hardware = request.hardware

    def allowed(kind: Kind) -> bool:
        batches = hardware.encoder_batches if kind.stages == "E" else hardware.batches
        sizes = hardware.parallel is None or kind.tensor_parallel in hardware.parallel
        return kind.gpu in hardware.gpus and sizes and (batches is None or kind.batch in batches)

    found = [kind for kind in table.kinds if allowed(kind)]
    of_encoders = [kind.batch for kind in found if kind.stages == "E"]
    of_others = [kind.batch for kind in found if kind.stages != "E"]
    for words, wanted, has in (
        ("tensor parallelism", hardware.parallel, [kind.tensor_parallel for kind in found]),
        ("batch", hardware.batches, of_others),
        ("encoder batch", hardware.encoder_batches, of_encoders),
        ("GPU type", hardware.gpus, [kind.gpu for kind in found]),
    ):
        for each in wanted or ():
            if each not in has:
                raise GapError(f"{path} has no kind of {words} {each} among those asked for")
    return found


def _check_table(path: Path, table: CapacityTable, request: PlanRequest) -> None:
    """Raise InputError unless the table was measured for what is asked now."""
    asked: list[tuple[str, Any, Any]] = [
        ("model", table.model, request.model),
        ("share within the objectives", table.quantile, request.target),
    ]
    kinds = list(dict.fromkeys(kind.gpu for kind in table.kinds))
    asked += [("GPU", " and ".join(kinds), gpu) for gpu in request.hardware.gpus if gpu not in kinds]
    objectives = request.objectives().to_json()
    asked += [(f"objective {name}", table.objectives.get(name), value) for name, value in objectives.items()]
    for what, has, wanted in asked:
        same = math.isclose(has, wanted) if isinstance(has, float) and isinstance(wanted, float) else has == wanted
        if not same:
            raise InputError(f"{path} was measured for {what} {has}, not {wanted}: name another --table to measure one")


def _priced(table: CapacityTable, request: PlanRequest) -> CapacityTable:
    price = dict(zip(request.hardware.gpus, request.hardware.prices or (), strict=True))
    return replace(table, kinds=tuple(replace(kind, price=price[kind.gpu]) for kind in table.kinds))


def _cache(trace: Trace, request: PlanRequest) -> Path:
    """Where the table of this traffic, model and objectives is kept."""
    rows = hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in _columns(trace))).hexdigest()
    asked = {name: getattr(request, name) for name in ("model", "gpu", "target", "seed")}
    key = fingerprint({"rows": rows, **asked, "objectives": request.objectives().to_json(), **versions()})
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slackwise"
    return folder / f"capacity-2-{key}.json"


def _columns(trace: Trace) -> Sequence[Any]:
    return trace.images, trace.context_tokens, trace.output_tokens
