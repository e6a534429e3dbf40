"""What a plan is asked for: model, hardware, objectives, prices and rules, uncertainty, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slackwise.errors import InputError, unknown
from slackwise.latency.model import load_model
from slackwise.simulator import Cluster, Objectives, Pool, isolated
from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.solver.hardware import DEFAULT_HARDWARE, Hardware
from slackwise.solver.measure import REFERENCE_PARALLEL
from slackwise.solver.planning import LEVELS, check_inflation, class_levels
from slackwise.solver.provisioning.data import DEFAULT_TERMS, Terms
from slackwise.solver.result import DEFAULT_LIMITS, Limits

MODEL = "Llama-3.2-11B-Vision"
DEFAULT_TOPOLOGIES = ("monolith", "E+PD")
VIOLATION, REACH = 0.01, 1.0


@dataclass(frozen=True)
class PlanRequest:
    """What is asked. Raises InputError for what is out of range or would have no effect."""

    model: str = MODEL
    slo_factor: float = 5.0
    slo_scale: str = "work"
    seed: int = 0
    hardware: Hardware = DEFAULT_HARDWARE
    window_s: float = 300.0
    target: float = 0.95
    topologies: tuple[str, ...] = DEFAULT_TOPOLOGIES
    terms: Terms = DEFAULT_TERMS
    kappa: float = 1.0
    scenarios: int | None = None
    violation: float | None = None  # with scenarios; None: VIOLATION
    budget: float | None = None
    reach: float | None = None  # with a budget; None: REACH
    levels: int = LEVELS
    slo: float = 1.0  # objectives times this
    table_path: Path | None = None
    limits: Limits = DEFAULT_LIMITS
    backend: str = "highs"

    def __post_init__(self) -> None:
        check_inflation(self.kappa, self.slo, self.levels)  # before anything is measured
        for name in self.topologies:
            if name not in TOPOLOGIES:
                raise unknown("topology", name, TOPOLOGIES)
        if self.budget is not None and self.scenarios is not None:
            raise InputError("give --scenarios or --budget, not both")
        if self.violation is not None and self.scenarios is None:
            raise InputError("--violation has no effect without --scenarios")
        classes = {each for name in self.topologies for each in TOPOLOGIES[name]}
        if self.hardware.encoder_batches is not None and "E" not in classes:
            raise InputError("--encoder-batch has no effect without a topology of encoders, such as E+PD")
        if self.levels != LEVELS and not any(
            len(class_levels(each, 2)) > len(class_levels(each, 1)) for each in classes
        ):
            raise InputError("--levels has no effect without a topology that splits the TTFT objective, such as E+PD")
        if self.reach is not None and self.budget is None:
            raise InputError("--reach has no effect without --budget")

    @classmethod
    def of(
        cls,
        model: str | None,
        gpus: str | None,
        slo_factor: float,
        slo_scale: str,
        seed: int,
        options: Mapping[str, Any],
    ) -> PlanRequest:
        """From the options of the command line. Raises InputError for what is out of range."""
        given = dict(options)
        terms = Terms(*(given.pop(name) for name in ("headroom", "switch_gpu_s", "min_up_windows")))
        limits = Limits(given.pop("gap"), given.pop("seconds"), workers=given.pop("workers"), seed=seed)
        words = (given.pop(name) for name in ("servers", "prices", "parallel", "batches", "encoder_batches"))
        hardware = Hardware.of(gpus, *words)
        given["topologies"] = tuple(dict.fromkeys(given["topologies"])) or DEFAULT_TOPOLOGIES
        name = load_model(model or MODEL).name
        return cls(name, slo_factor, slo_scale, seed, hardware, terms=terms, limits=limits, **given)

    @property
    def gpu(self) -> str:
        """The GPU type of the reference."""
        return self.hardware.gpus[0]

    def objectives(self) -> Objectives:
        """The objectives of the reference monolith."""
        return isolated(self.reference(), REFERENCE_PARALLEL, self.slo_factor, self.slo_scale)

    def reference(self) -> Cluster:
        """The monolith by which objectives are set."""
        return Cluster(self.model, self.gpu, (Pool("EPD", 1, REFERENCE_PARALLEL),))

    def to_json(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self) | {"table_path": str(self.table_path) if self.table_path else None}
