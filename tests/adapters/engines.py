"""What tests with real engines on a CPU share: a tiny model's cluster, images, and what an engine counts of itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.adapters.ray.target import Target
from slackwise.adapters.vllm.tiny import ENGINE
from slackwise.policies.winner import Winner
from slackwise.simulator import Cluster, Pool, isolated, preset
from slackwise.streams import stream

MODEL, GPU, GPUS = "LLaVA-OneVision-7B", "A100-80GB", 3
SIDE = 112


def winner_of(image: int, text: int) -> Winner:
    """1 encoder and 1 text instance on 3 GPUs; wanted are so many."""
    cluster = Cluster(MODEL, GPU, (Pool("E", 1), Pool("PD", 1)))
    wanted = ["provisioning=fixed_ratio", f"provisioning.image={image}", f"provisioning.text={text}"]
    policies = preset("modserve", MODEL, GPU, 8).policies.changed(["encode_routing=least_padded_tiles", *wanted])
    document = asdict(cluster) | {"topology": cluster.topology}
    return Winner(policies, MODEL, GPU, document, isolated(cluster).to_json(), {}, {"interval_s": 1.0, "gpu_cap": GPUS})


def target_of(model: Path, folder: Path, **more: Any) -> Target:
    """A machine without GPUs that has 3 slots in their place."""
    embeddings = folder / "embeddings"
    embeddings.mkdir(exist_ok=True)
    return Target(
        str(model), GPUS, served_name="tiny", embeddings=str(embeddings), force=True, images_per_request=8,
        engine=ENGINE, **more,
    )  # fmt: skip


def image(name: str) -> dict[str, Any]:
    """A part of a message with a picture of noise that no other name gives."""
    from PIL import Image

    out = io.BytesIO()
    noise = stream(0, f"picture {name}").integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(noise).save(out, "PNG")
    return {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()},
    }


def chat(name: str, images: int, **more: Any) -> dict[str, Any]:
    """A chat request with so many pictures of its own."""
    parts = [{"type": "text", "text": "describe the image please"}, *(image(f"{name}.{at}") for at in range(images))]
    return {
        "model": "tiny",
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": 6,
        "temperature": 0,
        **more,
    }


def counted(socket: Path) -> dict[str, float]:
    """What the engine at a socket counts."""
    import httpx

    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as http:
        return counts_of(http.get("http://engine/metrics", timeout=30.0).text)


def counts_of(metrics: str) -> dict[str, float]:
    """Sums over all labels by name, of a page of metrics."""
    found: dict[str, float] = {}
    for line in metrics.splitlines():
        if not line.startswith("#") and " " in line:
            name, value = line.rsplit(" ", 1)
            name = name.split("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """The environment with these variables for a while."""
    import os

    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
