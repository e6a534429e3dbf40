"""The fleet that is driven: 8 encoders and 4 text instances, emulated, behind a local Ray's endpoint."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slackwise.adapters.ray import up
from slackwise.adapters.ray.render import render, write_files
from slackwise.adapters.ray.serve_config import APPLICATION
from slackwise.adapters.ray.target import Target
from slackwise.files import write_text
from slackwise.policies.winner import Winner, versions
from slackwise.simulator import Cluster, Configuration, Objectives, Pool, isolated, preset

MODEL, GPU = "InternVL2.5-26B", "A100-80GB"
POLICIES = (
    "encode_routing=predicted_completion",
    "encode_batching=least_slack",
    "chunking=per_image",
    "routing=predicted_completion",
    "batching=least_slack",
)


def configuration(encoders: int = 8, texts: int = 4) -> Configuration:
    """Encoders of 1 GPU and text instances of 2; order by slack, each call to whoever is predicted to end it first."""
    cluster = Cluster(MODEL, GPU, (Pool("E", encoders, 1, "transformers"), Pool("PD", texts, 2)))
    return Configuration("serving", cluster, preset("modserve", MODEL, GPU, 16).policies.changed(POLICIES))


def objectives(configured: Configuration) -> Objectives:
    """Those of isolated requests on this cluster."""
    return isolated(configured.cluster)


def winner_of(configured: Configuration) -> Winner:
    """The bundle of a configuration."""
    cluster = configured.cluster
    document = asdict(cluster) | {"topology": cluster.topology}
    return Winner(configured.policies, cluster.model, cluster.gpu, document, objectives(configured).to_json(), {})


@dataclass(frozen=True)
class Fleet:
    """A running application."""

    running: up.Running
    client: Any

    @property
    def endpoint(self) -> str:
        """Of the API."""
        return self.running.endpoint

    def pools(self) -> dict[str, Any]:
        """Replicas by pool, running and wanted."""
        found: dict[str, Any] = up.status_of(self.client)["pools"]
        return found

    def handle(self, pool: str) -> Any:
        """A handle of a pool."""
        from ray import serve

        return serve.get_deployment_handle(pool, APPLICATION)

    def broadcast(self, pool: str, method: str, *arguments: Any) -> Any:
        """Call a method of every replica of a pool; their answers."""
        return self.handle(pool).broadcast(method, *arguments).results(timeout_s=60.0)

    def actors(self) -> dict[str, dict[str, str]]:
        """Name and namespace of every named actor of Ray, by name."""
        import ray

        return {each["name"]: each for each in ray.util.list_named_actors(all_namespaces=True)}

    def kill(self, part: str) -> str:
        """Kill the actor whose name holds `part`; its name."""
        import ray

        name, each = next((name, each) for name, each in self.actors().items() if part in name)
        ray.kill(ray.get_actor(each["name"], namespace=each["namespace"]), no_restart=False)
        return name


@contextmanager
def fleet(configured: Configuration, speed: float, **target: Any) -> Iterator[Fleet]:
    """The configuration, up on a Ray of this process; `target` are keys of cluster.toml."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        folder, port = Path(name), free.getsockname()[1]
        free.close()
        write_files(render(winner_of(configured), Target("m", configured.cluster.gpus, **target), folder), folder)
        document = up.emulated(up.read_document(folder), folder, speed, port)
        os.environ |= {"RAY_worker_niceness": "0"}  # Ray's 15 lets anything else on the machine go first
        with up.local_ray(up.gpus_of(document)) as dashboard:
            yield Fleet(running := up.bring_up(document, folder, dashboard, say, 900.0), running.client())
            up.bring_down(folder)


def machine() -> dict[str, Any]:
    """What the figures hang on: versions, cores, load average of the last minute."""
    return {**versions(), "cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}


def say(line: str) -> None:
    """To whoever watches."""
    print(line, file=sys.stderr, flush=True)


def publish(out: Path, document: dict[str, Any], table: str) -> None:
    """Write OUT.json and OUT.md, and print the second."""
    write_text(out.with_suffix(".json"), json.dumps(document, indent=1, allow_nan=False) + "\n")
    write_text(out.with_suffix(".md"), table)
    print(table)
