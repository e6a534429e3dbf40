"""What all experiments share: models, GPU, traffic, objectives, sizes. Its hash says whether a result is still good."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import slackwise
from slackwise.errors import InputError, unknown
from slackwise.simulator import Objectives, isolated
from slackwise.simulator.cluster import Cluster, Pool

LLAMA, INTERN = "Llama-3.2-11B-Vision", "InternVL2.5-26B"
COUNTS = ("sqrt", "raw")
"""Both readings of the trace's image counts."""

ENGINES = ("vllm-0.7", "vllm-0.7-host")
"""Engines that the paper's services may run on: vLLM 0.7.2 by its scheduling alone, and with its host's work."""

BELOW = ("traces", "latency", "policies", "simulator", "solver", "env", "tuning")
"""Packages whose source a result hangs on."""

HERE = Path(__file__).parent

Progress = Callable[[str, float], None]
"""Is told what is being done and the share that is over."""


@dataclass(frozen=True)
class Setting:
    """One reproduction. `gpus` is the large fleet of the paper, 128; the others of its fleets are parts of it."""

    seed: int = 0
    gpus: int = 128
    minutes: float = 10.0  # of the windows that are judged
    hours: float = 24.0  # of the day that fleets are scaled over
    windows: int = 3  # days that capacities are measured on
    trials: int = 150  # of each search
    slo_factor: float = 5.0
    slo_scale: str = "work"
    models: tuple[str, ...] = (LLAMA, INTERN)
    gpu: str = "A100-80GB"
    engine: str = "vllm-0.7"  # that the paper's services run on: its scheduling alone, or with its host's work

    def __post_init__(self) -> None:
        if self.gpus < 32 or self.gpus % 32:
            raise InputError(f"the large fleet has a multiple of 32 GPUs, 128 in the paper, not {self.gpus}")
        if not 1.0 <= self.minutes <= 360.0:
            raise InputError(f"windows last 1 to 360 minutes, not {self.minutes:g}")
        if not 1.0 <= self.hours <= 24.0:
            raise InputError(f"a day has 1 to 24 hours here, not {self.hours:g}")
        if self.windows < 1 or self.trials < 1:
            raise InputError("at least one window and one trial are needed")
        if self.engine not in ENGINES:
            raise unknown("engine of the paper's services", self.engine, ENGINES)

    def objectives(self, model: str, factor: float | None = None, scale: str | None = None) -> Objectives:
        """Of isolated requests on a monolith of today's engine, as everywhere else."""
        alone = Cluster(model, self.gpu, (Pool("EPD", 1, 4),))
        return isolated(alone, factor=factor or self.slo_factor, scale=scale or self.slo_scale)

    def digest(self, module: str, tuned: str = "") -> str:
        """Hash of all that the result of an experiment's `module` hangs on: setting, what was tuned, source."""
        text = json.dumps([asdict(self), tuned, source_digest(), module_digest(module)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def source_digest() -> str:
    """Hash of the source and tables of BELOW, the experiments left out."""
    root, found = Path(slackwise.__file__).parent, hashlib.sha256()
    for package in BELOW:
        for file in sorted((root / package).rglob("*")):
            if file.suffix in (".py", ".toml", ".json", ".npz") and HERE not in file.parents:
                found.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


@cache
def module_digest(module: str) -> str:
    """Hash of a module of this package and of those of the package that it imports, and they in turn."""
    found, due = dict[str, str](), [module]
    while due:
        name = due.pop()
        if name not in found:
            found[name] = (HERE / f"{name}.py").read_text(encoding="utf-8")
            due += re.findall(rf"^from {re.escape(__package__)}\.(\w+) import", found[name], re.MULTILINE)
            due += re.findall(rf"^from {re.escape(__package__)} import (\w+)$", found[name], re.MULTILINE)
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
