"""Seconds of a pick over gRPC: python -m slackwise.adapters.gateway.speed deployed/

A picker in a process of its own with 64 servers of which it has heard. One after the other, each pick is a stream of
its own with a header message and a body, and ends with the answer to the body.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.adapters.gateway.deployment import Deployment, read_deployment
from slackwise.adapters.gateway.ext_proc import METHOD, SERVICE, handler, processing_messages
from slackwise.adapters.gateway.feed import Heard
from slackwise.adapters.gateway.picker import PickerService
from slackwise.adapters.gateway.picks import Picker
from slackwise.optional import require
from slackwise.policies.winner import versions

SERVERS, PICKS, WARM_UP = 64, 4000, 300


def heard(deployment: Deployment, pool: str, servers: int) -> None:
    """Let the deployment's feed have heard of so many servers of a pool, with different loads."""
    reports = (
        {"waiting": float(at % 7), "running": float(at % 5), "backlog_s": 0.1 * (at % 9)} for at in range(servers)
    )
    deployment.feed.pools = {pool: {f"10.0.0.{at}:8100": Heard(each, time.time()) for at, each in enumerate(reports)}}
    deployment.feed.looks += 1


def messages(body: bytes) -> list[Any]:
    """What Envoy sends for a POST whose body it buffers."""
    classes = processing_messages()
    headers = classes["ProcessingRequest"]()
    headers.request_headers.headers.headers.add(key=":method", raw_value=b"POST")
    whole = classes["ProcessingRequest"]()
    whole.request_body.body, whole.request_body.end_of_stream = body, True
    return [headers, whole]


def chat(images: int) -> bytes:
    """A chat request of 400 characters and images of 1 KB."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1000}}
    content = [{"type": "text", "text": "x" * 400}, *[image] * images]
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()


async def _serve(folder: Path, ready: Any) -> None:
    deployment = read_deployment(folder, (), ())
    picker = Picker(deployment)
    heard(deployment, picker.size.name, SERVERS)
    server = require("grpc.aio", "gateway").server()
    server.add_generic_rpc_handlers((handler(PickerService(picker).process),))
    ready.put(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await server.wait_for_termination()


def _server(folder: Path, ready: Any) -> None:
    asyncio.run(_serve(folder, ready))


def open_call(channel: Any) -> Any:
    """The method that Envoy calls, on a gRPC channel."""
    return channel.stream_stream(
        f"/{SERVICE}/{METHOD}",
        request_serializer=lambda each: each.SerializeToString(),
        response_deserializer=processing_messages()["ProcessingResponse"].FromString,
    )


async def _picks(port: int, body: bytes) -> list[float]:
    grpc, sent, seconds = require("grpc.aio", "gateway"), messages(body), []
    async with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        process = open_call(channel)
        for _ in range(PICKS + WARM_UP):
            began = time.perf_counter()
            call = process()
            for message in sent:
                await call.write(message)
                answer = await call.read()
            seconds.append(time.perf_counter() - began)
            assert answer.request_body.response.header_mutation.set_headers
            call.cancel()
    return seconds[WARM_UP:]


def main(arguments: Sequence[str]) -> None:
    """Print a JSON document with quantiles of the seconds of a pick, for requests with and without images."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Queue()
    process = spawn.Process(target=_server, args=(Path(arguments[0]), ready), daemon=True)
    process.start()
    port, found = ready.get(timeout=120), {}
    for images in (0, 4):
        seconds = np.array(asyncio.run(_picks(port, chat(images))))
        p50, p99 = np.quantile(seconds * 1e3, [0.5, 0.99])
        found[f"{images} images"] = {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}
    process.terminate()
    print(json.dumps({"servers": SERVERS, "picks": PICKS, **found, "machine": versions()}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
