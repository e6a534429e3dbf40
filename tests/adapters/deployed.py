"""A small deployment rendered into a folder, for tests."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from slackwise.adapters.ray.render import render, write_files
from slackwise.adapters.ray.target import Target
from slackwise.policies.winner import Winner
from slackwise.simulator import Cluster, Pool, isolated, preset

MODEL, GPU = "LLaVA-OneVision-7B", "A100-80GB"


def winner_of(*settings: str) -> Winner:
    """2 encoders and 1 text instance on 5 GPUs."""
    cluster = Cluster(MODEL, GPU, (Pool("E", 2), Pool("PD", 1)))
    policies = preset("modserve", MODEL, GPU, 8).policies.changed(settings)
    document = asdict(cluster) | {"topology": cluster.topology}
    return Winner(policies, MODEL, GPU, document, isolated(cluster).to_json(), {}, {"interval_s": 1.0, "gpu_cap": 5})


def wanting(image: int, text: int) -> Winner:
    """The same, with a policy that wants so many instances."""
    return winner_of("provisioning=fixed_ratio", f"provisioning.image={image}", f"provisioning.text={text}")


def deployed(folder: Path, winner: Winner, **target: Any) -> Path:
    """The folder, with the winner rendered into it."""
    write_files(render(winner, Target("m", 5, **target), folder), folder)
    return folder
