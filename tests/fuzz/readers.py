"""What is read from files: a reader, and a valid document for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slackwise.adapters.ray.target import read_target
from slackwise.latency.measured import read_steps
from slackwise.policies.winner import read_winner
from slackwise.simulator.configuration_file import read_configuration
from slackwise.solver.provisioning.data import Kind
from slackwise.solver.table import CapacityTable, Curve, read_table
from slackwise.traces import read
from tests.adapters.bundles import bundle

MODEL, GPU = "InternVL2.5-26B", "A100-80GB"

LMM = b"""TIMESTAMP,NumImages,ContextTokens,GeneratedTokens
2024-10-15 00:00:00.000,4,1200,165
2024-10-15 00:00:01.250,0,386,209
2024-10-15 00:00:01.250,1,1445,1
"""
LLM = b"""TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
CLUSTER = b"""model = "m"
gpus = 16
server_gpus = 8
advisory = true
[engine]
max_model_len = 16384
"""
CONFIGURATION = b"""name = "mine"
base = "modserve"
[cluster]
link = "infiniband"
image_size = [896, 896]
placement = [[1, 1], [0, 0]]
[[cluster.pools]]
stages = "E"
instances = 2
engine = "transformers"
[[cluster.pools]]
stages = "PD"
instances = 2
tensor_parallel = 4
[policies]
batching = "edf"
chunking = { name = "per_image", knobs = { fan_out = 8 } }
[provisioning]
gpu_cap = 32
[faults]
mtbf_s = 3600.0
[[faults.listed]]
time_s = 60.0
instance = 0
kind = "crash"
seconds = 120.0
"""
STEPS = "decodes,context_tokens,prompt_tokens,images,tiles,seconds\n" + "".join(
    f"{decodes},{500 * decodes},0,0,0,{0.02 + 1e-4 * decodes}\n" for decodes in range(1, 14)
)
CAPACITIES = CapacityTable(
    model=MODEL,
    kinds=(Kind("EPD", 4, GPU),),
    curves=(Curve(0, "text", 1, 4.0, (1.0, 2.0, 3.0), (0.2, 0.4, 0.9), (0.1, 0.2, 0.3)),),
    quantile=0.99,
    images_per_request=2.8,
    objectives={"scale": "work"},
    source="by hand",
)


@dataclass(frozen=True)
class Reader:
    """Reads a file of `suffix`; `document` is one that it takes."""

    name: str
    suffix: str
    read: Callable[[Path], Any]
    document: bytes

    @property
    def values(self) -> Any:
        """The document as values, None if it is no JSON."""
        return json.loads(self.document) if self.suffix == ".json" else None


def readers(folder: Path) -> dict[str, Reader]:
    """All readers by name; `folder` is for the making of their documents."""
    winner = bundle(folder / "winner.json", "batching=least_slack").read_bytes()
    found = [
        Reader("lmm-trace", ".csv", read, LMM),
        Reader("llm-trace", ".csv", read, LLM),
        Reader("winner", ".json", read_winner, winner),
        Reader("configuration", ".toml", lambda path: read_configuration(path, MODEL, GPU, 16), CONFIGURATION),
        Reader("cluster", ".toml", read_target, CLUSTER),
        Reader("steps", ".csv", read_steps, STEPS.encode()),
        Reader("capacities", ".json", read_table, json.dumps(CAPACITIES.to_json()).encode()),
    ]
    return {each.name: each for each in found}
