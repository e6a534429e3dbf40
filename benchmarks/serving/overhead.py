"""What the path over the pools costs against one plain vLLM server: python benchmarks/serving/overhead.py

In one run, on one machine: an application of 1 encoder and 1 text engine under Ray, and a plain `vllm serve` that does
all by itself, with the same tiny model. Each request goes to both, one after the other, nothing else being served. It
prints the times to the first token and to the last as medians with the difference, and how many answers were the same.
Needs the environment of make test-ray, and 10 GB of memory.
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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from slackwise.adapters.ray import up as ray_up
from slackwise.adapters.ray.commands import serve_words
from slackwise.adapters.ray.engine_server import EngineServer
from slackwise.adapters.ray.render import render, write_files
from slackwise.adapters.ray.target import Target
from slackwise.adapters.vllm.in_process import make_room
from slackwise.adapters.vllm.tiny import tiny_model
from slackwise.policies.winner import Winner
from slackwise.simulator import Cluster, Pool, isolated, preset
from slackwise.streams import stream

MODEL, GPU = "LLaVA-OneVision-7B", "A100-80GB"
ENGINE: dict[str, bool | int | str] = {
    "load_format": "dummy",
    "dtype": "float32",
    "seed": 0,
    "enforce_eager": True,
    "enable_prefix_caching": False,
    "max_model_len": 2048,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 512,
    "kv_cache_memory_bytes": 2**26,
}
IMAGES = (0, 1, 4)
"""Images of the requests that are measured."""


@dataclass(frozen=True)
class Times:
    """Seconds from sending to the first and to the last event of a stream, and its text."""

    first_s: float
    last_s: float
    text: str


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
    began, first_s, text, ended = time.perf_counter(), 0.0, "", False
    async with http.post(url, json=body) as reply:
        async for line in reply.content:
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                ended = True
            elif data:
                first_s = first_s or time.perf_counter() - began
                for choice in json.loads(data).get("choices", []):
                    text += choice["delta"].get("content") or ""
    if not ended:
        raise RuntimeError(f"{url} answered {reply.status} and no whole stream")
    return Times(first_s, time.perf_counter() - began, text)


@asynccontextmanager
async def plain(model: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A plain server, its client and its address. Over TCP, as clients would reach it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = PlainServer(serve_words(str(model), "tiny", {**ENGINE, "limit_mm_per_prompt": {"image": 16}}), port)
    try:
        await server.started()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as http:
            yield http, f"http://127.0.0.1:{port}/v1/chat/completions"
    finally:
        await server.http.close()
        server.stop()


class PlainServer(EngineServer):
    """A `vllm serve` on a port of loopback."""

    def __init__(self, words: list[str], port: int) -> None:
        self.port = port
        super().__init__(words)

    def reach(self) -> tuple[list[str], str, aiohttp.BaseConnector]:
        """Where it listens."""
        return (
            ["--host", "127.0.0.1", "--port", str(self.port)],
            f"http://127.0.0.1:{self.port}",
            aiohttp.TCPConnector(limit=0),
        )


async def measure(path_url: str, model: Path, repeats: int, tokens: int) -> dict[str, Any]:
    """Times of both, by number of images; the first three requests of each kind are for warming up."""
    rows: dict[str, Any] = {}
    async with plain(model) as (http, plain_url):
        for images in IMAGES:
            pairs = []
            for at in range(repeats + 3):
                body = chat(f"{images}.{at}", images, tokens)
                urls = [path_url, plain_url] if at % 2 else [plain_url, path_url]
                found = {url: await ask(http, url, body) for url in urls}
                pairs.append((found[path_url], found[plain_url]))
            rows[str(images)] = _row(pairs[3:])
    return rows


def _row(pairs: list[tuple[Times, Times]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "requests": len(pairs),
        "same_answers": sum(ours.text == theirs.text for ours, theirs in pairs),
    }
    for name in ("first_s", "last_s"):
        ours, theirs = ([getattr(pair[side], name) for pair in pairs] for side in (0, 1))
        differences = [one - other for one, other in zip(ours, theirs, strict=True)]
        row[name] = {
            "path_ms": 1e3 * statistics.median(ours),
            "plain_ms": 1e3 * statistics.median(theirs),
            "difference_ms": 1e3 * statistics.median(differences),
        }
    return row


def main() -> None:
    """Measure, print a table, and write JSON where --out says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", VLLM_NO_USAGE_STATS="1", OMP_NUM_THREADS="1")
    make_room()
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        model = tiny_model(folder / "tiny")
        (folder / "embeddings").mkdir()
        target = Target(
            str(model), 2, served_name="tiny", embeddings=str(folder / "embeddings"), force=True, engine=ENGINE
        )
        write_files(render(winner(), target, folder), folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        document = ray_up.with_engines(ray_up.read_document(folder), folder, cpu=True, port=port)
        with ray_up.local_ray(ray_up.gpus_of(document)) as dashboard:
            running = ray_up.bring_up(document, folder, dashboard, print, 600.0)
            load = os.getloadavg()[0]
            url = f"{running.endpoint}/chat/completions"
            rows = asyncio.run(measure(url, model, options.repeats, options.tokens))
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
        f"{what} {which} ms" for what in ("first token", "last token") for which in ("path", "plain", "difference")
    ]
    lines += [f"| images | requests | same answers | {' | '.join(columns)} |", "|---" * (3 + len(columns)) + "|"]
    for images, row in result["images"].items():
        cells = [f"{row[name][key]:.1f}" for name in ("first_s", "last_s") for key in KEYS]
        lines.append(f"| {images} | {row['requests']} | {row['same_answers']} | {' | '.join(cells)} |")
    return "\n".join(lines)


KEYS = ("path_ms", "plain_ms", "difference_ms")

if __name__ == "__main__":
    main()
