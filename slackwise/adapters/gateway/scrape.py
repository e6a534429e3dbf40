"""Prometheus text of the servers of a pool, read over HTTP: addresses in, samples out."""

from __future__ import annotations

import asyncio
import math
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slackwise.errors import InputError
from slackwise.optional import require

MOST_BYTES = 4 * 2**20
"""Of the metrics of a server."""

ADDRESS = re.compile(r"(?P<pool>[a-z0-9]+)=(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})")

PREFIXES = (
    "slackwise:",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:cache_config_info",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:request_time_per_output_token_seconds_bucket",
)
"""What of a server's metrics is read; the other lines are left out before they are parsed."""

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""(name, sorted labels) -> value."""


@dataclass(frozen=True)
class Service:
    """Servers of a pool behind one name: every address that the name has is a server."""

    pool: str
    host: str
    port: int


def read_services(texts: Sequence[str], pools: Sequence[str], wanted: Sequence[str] | None) -> tuple[Service, ...]:
    """The services in `POOL=HOST:PORT`.

    Raises InputError for other text, an unknown pool, and a pool of `wanted` (None: of all) without servers.
    """
    services = []
    for text in texts:
        found = ADDRESS.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 65536:
            raise InputError(f"servers are given as POOL=HOST:PORT, not {text!r}")
        if found["pool"] not in pools:
            raise InputError(f"{text!r}: the bundle's pools are {', '.join(pools)}")
        services.append(Service(found["pool"], found["host"].strip("[]"), int(found["port"])))
    missing = [pool for pool in (pools if wanted is None else wanted) if pool not in {each.pool for each in services}]
    if missing:
        raise InputError(f"no servers are given for {', '.join(missing)}: --servers {missing[0]}=HOST:PORT")
    return tuple(services)


async def addresses(service: Service) -> list[str]:
    """host:port of every server of a service, sorted; none if the name is not known at the moment."""
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(service.host, service.port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    hosts = sorted({str(each[4][0]) for each in found})
    return [f"[{host}]:{service.port}" if ":" in host else f"{host}:{service.port}" for host in hosts]


async def scrape(http: Any, address: str) -> Samples | None:
    """The samples of a server's /metrics by an httpx.AsyncClient; None if it gives none that can be read."""
    httpx = require("httpx", "gateway")
    text = bytearray()
    try:
        async with http.stream("GET", f"http://{address}/metrics") as reply:
            if reply.status_code != 200:
                return None
            async for part in reply.aiter_bytes():
                text += part
                if len(text) > MOST_BYTES:
                    return None
        return read_samples(text.decode("utf-8"))
    except (httpx.HTTPError, UnicodeDecodeError, InputError):
        return None


def read_samples(text: str) -> Samples:
    """The finite samples of PREFIXES in Prometheus' text form. Raises InputError for other text."""
    parser = require("prometheus_client.parser", "gateway")
    wanted = "\n".join(line for line in text.splitlines() if line.startswith(PREFIXES))
    try:
        families = list(parser.text_string_to_metric_families(wanted + "\n"))
    except Exception as error:
        raise InputError(f"not Prometheus' text form: {error}") from None
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in families
        for sample in family.samples
        if math.isfinite(sample.value)
    }


def total(samples: Samples, name: str, **labels: str) -> float | None:
    """Sum of the samples of a name with these labels, None if there are none."""
    wanted = set(labels.items())
    found = [value for (each, given), value in samples.items() if each == name and wanted <= set(given)]
    return sum(found) if found else None
