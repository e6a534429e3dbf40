"""Servers that show Prometheus metrics as vLLM with the plug-in does, on ports of loopback, for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LABELS = 'engine="0",model_name="m"'


@dataclass
class Shown:
    """What a server shows: `values` by name, further `lines` as they are; `status` of its answers."""

    values: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    status: int = 200

    def text(self) -> str:
        """Prometheus' text form."""
        return "\n".join([*(f"{name}{{{LABELS}}} {value}" for name, value in self.values.items()), *self.lines]) + "\n"


@contextmanager
def server(shown: Shown) -> Iterator[int]:
    """The port of a server that shows it at /metrics."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = shown.text().encode()
            self.send_response(shown.status if self.path == "/metrics" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield http.server_address[1]
    finally:
        http.shutdown()
        http.server_close()


def by_class(name: str, text: float, image: float) -> list[str]:
    """Lines of a counter of the plug-in by class."""
    return [
        f'slackwise:{name}{{class="{kind}",{LABELS}}} {value}' for kind, value in (("text", text), ("image", image))
    ]


def histogram(name: str, counts: Mapping[str, float]) -> list[str]:
    """Lines of the cumulated buckets of a histogram."""
    return [f'{name}_bucket{{{LABELS},le="{end}"}} {count}' for end, count in counts.items()]
