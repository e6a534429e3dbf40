"""The `vllm serve` of one replica: a process of its own on a socket that only its user reaches.

It ends with the replica, even if that is killed. An engine is asked as any client would ask it: that works with every
version of vLLM, while the classes behind its API change with each.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from slackwise.errors import CheckError

SOCKET, LOG = "engine.sock", "engine.log"
LOOK_S = 0.5
"""Between two looks at whether it is up."""

STOP_S = 20.0
"""For it to end by itself, its engine core with it."""

TOLD_LINES = 12
"""Of its log, in the error of an engine that does not start."""


class EngineServer:
    """`words` are what follows `vllm serve`; `key` is what the engine asks for, if anything."""

    def __init__(self, words: Sequence[str], key: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slackwise-engine-"))
        listens, address, connector = self.reach()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        environment = os.environ | ({} if key is None else {"VLLM_API_KEY": key})
        tied = [sys.executable, "-m", "slackwise.adapters.ray.tied", str(os.getpid())]
        vllm = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]
        with (self.folder / LOG).open("wb") as log:
            self.process = subprocess.Popen(
                [*tied, *vllm, *words, *listens],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.http = aiohttp.ClientSession(
            address,
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30.0),
            headers=headers,
            read_bufsize=2**20,
        )

    def reach(self) -> tuple[list[str], str, aiohttp.BaseConnector]:
        """(words for `vllm serve`, address, connector): where it listens."""
        path = str(self.folder / SOCKET)
        return ["--uds", path], "http://engine", aiohttp.UnixConnector(path, limit=0)

    async def started(self) -> None:
        """Wait until it serves. Raises CheckError with the end of its log if it ends instead."""
        while not await self.healthy(5.0):
            if self.process.poll() is not None:
                raise CheckError(f"vllm serve ended with {self.process.returncode}: {self.log_end()}")
            await asyncio.sleep(LOOK_S)

    async def healthy(self, limit_s: float) -> bool:
        """Whether it says so within `limit_s` seconds."""
        if self.process.poll() is not None:
            return False
        try:
            async with self.http.get("/health", timeout=aiohttp.ClientTimeout(total=limit_s)) as reply:
                return bool(reply.status == 200)
        except (aiohttp.ClientError, TimeoutError):
            return False

    def post(self, route: str, body: Any) -> Any:
        """A POST to be entered with `async with`; leaving it early hangs up, and the engine aborts the request."""
        return self.http.post(route, json=body)

    def log_end(self) -> str:
        """The last lines of its log that say something."""
        lines = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join([line.strip() for line in lines if line.strip()][-TOLD_LINES:])

    def stop(self) -> None:
        """End it and remove its files; a second time has no effect."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
