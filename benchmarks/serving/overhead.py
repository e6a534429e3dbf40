"""What the path over the pools costs against one vLLM server: python benchmarks/serving/overhead.py

In one run, on one machine, with a tiny model: an application of 1 encoder and 1 text engine under Ray, and the
`vllm serve` of its text replica asked directly at its socket, where it does all by itself, images too. Each request
goes to both, one after the other, with pictures of its own, nothing else being served. It prints the times to the first
and to the last token as medians, with the median difference. Needs the environment of make test-ray, and 8 GB of
memory.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import platform
import socket
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np

from slackwise.adapters.ray import up as ray_up
from slackwise.adapters.ray.render import render, write_files
from slackwise.adapters.ray.target import Target
from slackwise.adapters.vllm.in_process import make_room
from slackwise.adapters.vllm.tiny import ENGINE, tiny_model
from slackwise.policies.winner import Winner
from slackwise.simulator import Cluster, Pool, isolated, preset
from slackwise.streams import stream

MODEL, GPU = "LLaVA-OneVision-7B", "A100-80GB"
IMAGES = (0, 1, 4)
"""Images of the requests that are measured."""


@dataclass(frozen=True)
class Times:
    """Seconds from sending to the first and to the last event of a stream."""

    first_s: float
    last_s: float


def winner() -> Winner:
    """1 encoder, 1 text instance, and no provisioning."""
    cluster = Cluster(MODEL, GPU, (Pool("E", 1), Pool("PD", 1)))
    document = asdict(cluster) | {"topology": cluster.topology}
    policies = preset("modserve", MODEL, GPU, 8).policies.changed(["provisioning=fixed_ratio"])
    return Winner(policies, MODEL, GPU, document, isolated(cluster).to_json(), {})


def chat(name: str, images: int, tokens: int) -> dict[str, Any]:
    """A streamed chat request with pictures of noise that no other name gives."""
    from PIL import Image

    parts: list[dict[str, Any]] = [{"type": "text", "text": "describe the image please"}]
    for at in range(images):
        out = io.BytesIO()
        noise = stream(0, f"picture {name}.{at}").integers(0, 256, (112, 112, 3), np.uint8)
        Image.fromarray(noise).save(out, "PNG")
        url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
        parts.append({"type": "image_url", "image_url": {"url": url}})
    messages = [{"role": "user", "content": parts}]
    return {"model": "tiny", "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}


async def ask(http: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Times:
    """Send a request and read its stream. Raises RuntimeError for any answer but a whole one."""
    began, first_s, ended = time.perf_counter(), 0.0, False
    async with http.post(url, json=body) as reply:
        async for line in reply.content:
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                ended = True
            elif data:
                first_s = first_s or time.perf_counter() - began
    if not ended:
        raise RuntimeError(f"{url} answered {reply.status} and no whole stream")
    return Times(first_s, time.perf_counter() - began)


def text_socket(folder: Path) -> Path:
    """The socket of the engine with the scheduler plug-in, among those whose replicas keep their files in `folder`."""
    for path in folder.glob("slackwise-engine-*/engine.sock"):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as http:
            if "slackwise:steps_total" in http.get("http://engine/metrics", timeout=60.0).text:
                return path
    raise RuntimeError(f"no engine with the plug-in in {folder}")


async def measure(path_url: str, engine: Path, repeats: int, tokens: int) -> dict[str, Any]:
    """Times of both, by number of images; the first three requests of each kind are for warming up."""
    limit = aiohttp.ClientTimeout(total=300)
    rows: dict[str, Any] = {}
    async with (
        aiohttp.ClientSession(timeout=limit) as over_path,
        aiohttp.ClientSession(timeout=limit, connector=aiohttp.UnixConnector(str(engine))) as directly,
    ):
        for images in IMAGES:
            pairs = []
            for at in range(repeats + 3):
                calls = [
                    ask(over_path, path_url, chat(f"path {images}.{at}", images, tokens)),
                    ask(directly, "http://engine/v1/chat/completions", chat(f"engine {images}.{at}", images, tokens)),
                ]
                order = (0, 1) if at % 2 else (1, 0)
                found = {which: await calls[which] for which in order}
                pairs.append((found[0], found[1]))
            rows[str(images)] = _row(pairs[3:])
    return rows


def _row(pairs: list[tuple[Times, Times]]) -> dict[str, Any]:
    row: dict[str, Any] = {"requests": len(pairs)}
    for name in ("first_s", "last_s"):
        ours, theirs = ([getattr(pair[side], name) for pair in pairs] for side in (0, 1))
        differences = [one - other for one, other in zip(ours, theirs, strict=True)]
        row[name] = {
            "path_ms": 1e3 * statistics.median(ours),
            "engine_ms": 1e3 * statistics.median(theirs),
            "difference_ms": 1e3 * statistics.median(differences),
        }
    return row


def main() -> None:
    """Measure, print a table, and write JSON where --out says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--limit", type=float, default=900.0, help="Seconds until all engines are up.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", VLLM_NO_USAGE_STATS="1", OMP_NUM_THREADS="1")
    make_room()
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        model = tiny_model(folder / "tiny")
        (folder / "embeddings").mkdir()
        os.environ.update(RAY_TMPDIR=tempfile.gettempdir(), TMPDIR=name)
        target = Target(
            str(model), 2, served_name="tiny", embeddings=str(folder / "embeddings"), force=True, engine=ENGINE
        )
        write_files(render(winner(), target, folder), folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        document = ray_up.with_engines(ray_up.read_document(folder), folder, cpu=True, port=port)
        with ray_up.local_ray(ray_up.gpus_of(document)) as dashboard:
            running = ray_up.bring_up(document, folder, dashboard, print, options.limit)
            load = os.getloadavg()[0]
            url = f"{running.endpoint}/chat/completions"
            rows = asyncio.run(measure(url, text_socket(folder), options.repeats, options.tokens))
    result = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": load,
        "tokens": options.tokens,
    }
    result |= {"load_after": os.getloadavg()[0], "images": rows}
    print(table(result))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def table(result: dict[str, Any]) -> str:
    """The times as Markdown."""
    lines = [f"{result['cores']} cores, load average {result['load_before']:.1f} to {result['load_after']:.1f}", ""]
    columns = [
        f"{what} {which} ms" for what in ("first token", "last token") for which in ("path", "engine", "difference")
    ]
    lines += [f"| images | requests | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for images, row in result["images"].items():
        cells = [f"{row[name][key]:.1f}" for name in ("first_s", "last_s") for key in KEYS]
        lines.append(f"| {images} | {row['requests']} | {' | '.join(cells)} |")
    return "\n".join(lines)


KEYS = ("path_ms", "engine_ms", "difference_ms")

if __name__ == "__main__":
    main()
