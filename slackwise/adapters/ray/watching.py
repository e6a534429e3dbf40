"""A running application, looked at from outside: replicas from Ray's dashboard, the rest from the endpoint itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slackwise.adapters.ray.attainment import JUDGED, Totals
from slackwise.adapters.ray.target import key_of
from slackwise.adapters.ray.telling import told_counters
from slackwise.adapters.ray.up import Running, left_in, read_document, status_of
from slackwise.errors import InputError, brief
from slackwise.optional import require

TIMEOUT_S = 5.0


@dataclass
class Window:
    """An application that `up` left in a folder; every look tells what was attained since the one before."""

    running: Running
    client: Any
    key: str | None
    totals: Totals

    def look(self) -> dict[str, Any]:
        """Status, pools with replicas, targets and queues, and attainment. Raises InputError if nothing answers."""
        told = self._told()
        return pictured(status_of(self.client), told, self._attained(told)) | {"endpoint": self.running.endpoint}

    def _told(self) -> dict[str, Any]:
        httpx = require("httpx", "serve")
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        address = self.running.endpoint.removesuffix("/v1") + "/slackwise/state"
        try:
            reply = httpx.get(address, headers=headers, timeout=TIMEOUT_S, trust_env=False)
            told = reply.json() if reply.status_code == 200 else None
        except (httpx.HTTPError, ValueError) as error:
            raise InputError(f"no answer from {address}: {brief(error)}") from None
        if not isinstance(told, dict):
            raise InputError(f"{address} answers with status {reply.status_code}")
        return told

    def _attained(self, told: Mapping[str, Any]) -> dict[str, Any]:
        if self.totals.last is None:
            self.totals.take({})  # so that the first look tells of all since the start
        new = self.totals.changes(told_counters(dict(told)))
        return {
            objective: {"judged": int(new[f"{objective}_judged"]), "met": int(new[f"{objective}_met"])}
            for objective in ("ttft", "tbt")
        }


def window(folder: Path) -> Window:
    """A window on what is up in a folder. Raises InputError if nothing is."""
    running = left_in(folder)
    name = read_document(folder)["applications"][0]["args"].get("api_key_env")
    return Window(running, running.client(), key_of(name, os.environ), Totals(JUDGED))


def pictured(status: Mapping[str, Any], told: Mapping[str, Any], attained: Mapping[str, Any]) -> dict[str, Any]:
    """One document of what the dashboard and the application say; what provisioning does not know is None."""
    provisioning = told.get("provisioning", {})
    known = provisioning.get("pools", {})
    pools = {}
    for name, pool in status["pools"].items():
        seen = known.get(name, {})
        more = {key: seen.get(key) for key in ("wanted", "starting", "draining", "waiting", "running", "backlog_s")}
        pools[name] = {"replicas": pool["running"], "target": pool["target"], **more}
    return {
        "status": status["status"],
        "pools": pools,
        "attained": dict(attained),
        "in_flight": sum(int(each.get("in_flight", 0)) for each in told.values()),
        "advisory": provisioning.get("advisory"),
        "reason": provisioning.get("reason"),
        "complaint": provisioning.get("complaint") or "",
    }
