"""A running application, and a port that is free, for tests."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slackwise.adapters.ray import up as ray_up


@dataclass
class Running:
    """A running application."""

    endpoint: str
    client: Any
    folder: Path

    def pools(self) -> dict[str, Any]:
        """What its status says of the pools."""
        found: dict[str, Any] = ray_up.status_of(self.client)["pools"]
        return found

    def wait(self, e: int, pd: int, limit_s: float = 400.0) -> dict[str, Any]:
        """The pools, once so many instances run."""
        until = time.monotonic() + limit_s
        while True:
            pools = self.pools()
            if (pools["e"]["running"], pools["pd"]["running"]) == (e, pd):
                return pools
            assert time.monotonic() < until, pools
            time.sleep(0.3)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
