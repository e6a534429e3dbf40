"""Bundles for tests."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from slackwise.policies.winner import Winner, write_winner
from slackwise.simulator import isolated, preset

MODEL, GPU = "LLaVA-OneVision-7B", "A100-80GB"


def bundle(path: Path, *settings: str) -> Path:
    """Write a bundle of the preset `vllm` on one monolith, with changed policies; its path."""
    start = preset("vllm", MODEL, GPU, 4)
    cluster = asdict(start.cluster) | {"topology": start.cluster.topology}
    objectives = isolated(start.cluster).to_json()
    write_winner(path, Winner(start.policies.changed(settings), MODEL, GPU, cluster, objectives, {}))
    return path
