"""Start, look at and end the application that was rendered into a folder, on a local Ray or on a cluster's.

A local Ray lives as long as `up` runs. Its endpoint and dashboard listen on loopback; the ports among its processes do
not, and ask for Ray's token. `status` and `down` reach the application through the address that `up` leaves.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slackwise.adapters.ray.hot import open_store
from slackwise.adapters.ray.render import BUNDLE, SERVE
from slackwise.adapters.ray.serve_config import APPLICATION
from slackwise.adapters.ray.target import key_of
from slackwise.adapters.vllm.support import installed
from slackwise.errors import CheckError, InputError, LimitError, brief
from slackwise.files import read_json, write_text
from slackwise.optional import require

LEFT = "deployment.json"
"""What `up` leaves in the folder."""

CPUS_PER_REPLICA, SLOT = 0.05, "gpu_slot"
PUSH_S = "1"
"""Seconds between two reports of a replica to the controller; Ray reads it where it starts."""

ENVIRONMENT = {
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": PUSH_S,
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # a slower proxy is replaced: on a busy machine always
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_events_max_num_task_in_gcs": "10000",  # calls that the head remembers for its dashboard: 100,000 else
    "RAY_worker_niceness": "0",  # replicas are what the machine is for: Ray would put them behind everything else
}

ON_CPU = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""Engines of vLLM's CPU build share the machine's cores, unless the environment says otherwise."""


@dataclass(frozen=True)
class Running:
    """An application that is up."""

    endpoint: str
    dashboard: str
    ray: str  # host:port of the cluster's head

    def client(self) -> Any:
        """Ray's own client of the dashboard."""
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # a local Ray asks for it; other processes have to be told
        sdk = require("ray.dashboard.modules.serve.sdk", "serve")
        try:
            return sdk.ServeSubmissionClient(self.dashboard)
        except Exception as error:
            raise InputError(f"no Ray answers at {self.dashboard}: {brief(error)}") from None


def read_document(folder: Path) -> dict[str, Any]:
    """The configuration in a rendered folder. Raises InputError if it is not there or cannot be read."""
    yaml = require("yaml", "serve")
    try:
        document = yaml.safe_load((folder / SERVE).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {folder / SERVE}: {error.strerror}; slackwise deploy render writes it") from None
    except yaml.YAMLError:
        raise InputError(f"{folder / SERVE} is not YAML") from None
    if not isinstance(document, dict) or "applications" not in document:
        raise InputError(f"{folder / SERVE} is no configuration of Ray Serve")
    return document


def emulated(document: dict[str, Any], folder: Path, speed: float, port: int | None = None) -> dict[str, Any]:
    """The configuration with emulated replicas, each on as many emulated GPUs as a real one has."""
    return _changed(document, folder, port, {"emulate": speed}, SLOT)


def with_engines(document: dict[str, Any], folder: Path, cpu: bool, port: int | None = None) -> dict[str, Any]:
    """The configuration with vLLM engines, on GPUs or, with `cpu`, on as many slots of a machine without.

    Raises InputError where there is no vLLM, and for pools that only prefill or only decode: their engines find each
    other by the lines of vllm-serve.txt, and not here.
    """
    if installed() is None:
        raise InputError("vLLM is needed here: pip install 'slackwise[vllm]'; or --emulate")
    apart = [name for name, engine in _engines(document).items() if "kv_transfer_config" in engine]
    if apart:
        raise InputError(f"pools {', '.join(apart)}: separate prefill and decode engines are not there under Ray")
    return _changed(document, folder, port, {}, SLOT if cpu else None)


def _engines(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    engines: dict[str, dict[str, Any]] = document["applications"][0]["args"]["engines"]
    return engines


def _changed(
    document: dict[str, Any], folder: Path, port: int | None, more: dict[str, Any], slot: str | None
) -> dict[str, Any]:
    """The configuration with the bundle of `folder`, on `slot` in place of GPUs. Raises InputError without its key."""
    application = document["applications"][0]
    bundle = str((folder / BUNDLE).absolute())
    engines = {name: _with_bundle(engine, bundle) for name, engine in _engines(document).items()}
    arguments = {**application["args"], **more, "bundle": bundle, "engines": engines}
    key_of(arguments.get("api_key_env"), os.environ)
    width = {pool["name"]: pool["tensor_parallel"] for pool in arguments["pools"]}
    deployments = [_placed(each, width, bundle, slot) for each in application["deployments"]]
    changed = {**application, "args": arguments, "deployments": deployments}
    if "autoscaling_policy" in application:
        policy = application["autoscaling_policy"]
        changed["autoscaling_policy"] = {**policy, "policy_kwargs": {**policy["policy_kwargs"], "bundle": bundle}}
    http = {**document["http_options"], **({} if port is None else {"port": port})}
    return {**document, "http_options": http, "applications": [changed]}


def _with_bundle(engine: dict[str, Any], bundle: str) -> dict[str, Any]:
    if "additional_config" not in engine:
        return engine
    settings = {**engine["additional_config"]["slackwise"], "bundle": bundle}
    return {**engine, "additional_config": {"slackwise": settings}}


def _placed(deployment: dict[str, Any], width: dict[str, int], bundle: str, slot: str | None) -> dict[str, Any]:
    name, options = deployment["name"], {"num_cpus": CPUS_PER_REPLICA}
    if name not in width:
        return {**deployment, "ray_actor_options": options}
    router = deployment["request_router_config"]
    router = {**router, "request_router_kwargs": {**router["request_router_kwargs"], "bundle": bundle}}
    held = {"num_gpus": width[name]} if slot is None else {"resources": {slot: width[name]}}
    return {**deployment, "ray_actor_options": {**options, **held}, "request_router_config": router}


def gpus_of(document: dict[str, Any]) -> int:
    """GPUs that the application may hold."""
    application = document["applications"][0]
    if "autoscaling_policy" in application:
        return int(application["autoscaling_policy"]["policy_kwargs"]["gpu_budget"])
    return sum(int(pool["instances"]) * int(pool["tensor_parallel"]) for pool in application["args"]["pools"])


@contextmanager
def local_ray(gpus: int, slots: bool = True) -> Iterator[str]:
    """A Ray of this process on loopback; its dashboard's address. `slots` stand for GPUs, else it has the machine's.

    Raises InputError if the machine has fewer GPUs than wanted.
    """
    os.environ.update(ENVIRONMENT)
    for name, value in ON_CPU.items() if slots else ():
        os.environ.setdefault(name, value)
    ray = require("ray", "serve")
    context = ray.init(
        address="local",
        num_cpus=max(2, os.cpu_count() or 2),
        resources={SLOT: gpus} if slots else {},
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        object_store_memory=200 * 2**20,
    )
    try:
        if not slots and (there := int(ray.cluster_resources().get("GPU", 0))) < gpus:
            raise InputError(f"the application may hold {gpus} GPUs, this machine has {there}: --cpu, or --emulate")
        yield f"http://{context.dashboard_url}"
    finally:
        ray.shutdown()


def bring_up(
    document: dict[str, Any], folder: Path, dashboard: str, say: Callable[[str], None], limit_s: float
) -> Running:
    """Deploy on the Ray that this process is connected to and wait until it is healthy.

    Raises CheckError if Ray gives up on it, LimitError if it is not healthy within `limit_s`.
    """
    open_store((folder / BUNDLE).read_text(encoding="utf-8"))
    http = document["http_options"]
    address = require("ray", "serve").get_runtime_context().gcs_address
    running = Running(f"http://{http['host']}:{http['port']}/v1", dashboard, address)
    serve = require("ray.serve", "serve")
    serve.start(proxy_location=document["proxy_location"], http_options=http)
    client = running.client()
    client.deploy_applications(document)
    write_text(folder / LEFT, json.dumps(asdict(running)) + "\n")
    began, said = time.monotonic(), ""
    while True:
        found = status_of(client)
        line = ", ".join(f"{name} {pool['running']}/{pool['target']}" for name, pool in found["pools"].items())
        if (line := f"{found['status']}: {line}") != said:
            say(said := line)
        if found["status"] == "RUNNING":
            return running
        if found["status"] in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise CheckError(f"Ray Serve gave up: {found['message'][:300]}")
        if time.monotonic() - began > limit_s:
            raise LimitError(f"not healthy after {limit_s:g} s: {line}")
        time.sleep(0.5)


def status_of(client: Any) -> dict[str, Any]:
    """Status of the application, and running and target replicas of its pools."""
    application = client.get_serve_details()["applications"].get(APPLICATION)
    if application is None:
        return {"status": "NOT_THERE", "message": "", "pools": {}}
    pools = {name: _replicas(each) for name, each in application["deployments"].items()}
    return {"status": application["status"], "message": " ".join(application["message"].split()), "pools": pools}


def _replicas(deployment: dict[str, Any]) -> dict[str, Any]:
    running = sorted(each["replica_id"] for each in deployment["replicas"] if each["state"] == "RUNNING")
    return {"running": len(running), "target": deployment["target_num_replicas"], "replicas": running}


def left_in(folder: Path) -> Running:
    """The application that `up` left in a folder. Raises InputError if there is none."""
    path = folder / LEFT
    if not path.exists():
        raise InputError(f"nothing is up in {folder}: slackwise deploy up starts it")
    document = read_json(path)
    if not isinstance(document, dict) or not {"endpoint", "dashboard", "ray"} <= document.keys():
        raise InputError(f"{path} is not what slackwise deploy up leaves")
    return Running(str(document["endpoint"]), str(document["dashboard"]), str(document["ray"]))


def bring_down(folder: Path) -> None:
    """Delete the application that was left in a folder; a local Ray ends with the `up` that started it."""
    left_in(folder).client().delete_applications()
    (folder / LEFT).unlink()
