"""What the parts of an application say of themselves, and hear of the others, by the actor that keeps the bundle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from slackwise.adapters.ray.hot import NAMESPACE, STORE
from slackwise.optional import require

PERIOD_S = 1.0


class Telling:
    """A daemon thread that tells what `make` returns and keeps what all have told; a failure changes nothing."""

    def __init__(self, name: str, make: Callable[[], dict[str, Any]], period_s: float = PERIOD_S) -> None:
        self.name, self.make, self.period_s = name, make, period_s
        self.told: dict[str, dict[str, Any]] = {}
        self.error = ""
        threading.Thread(target=self._run, daemon=True, name="slackwise-telling").start()

    def _run(self) -> None:
        while True:
            try:
                self.told = exchange(self.name, self.make())
                self.error = ""
            except Exception as error:  # the store is not there (yet)
                self.error = str(error)
            time.sleep(self.period_s)


def exchange(name: str, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Tell a document; what all parts have told. Raises what Ray raises where the store is not there."""
    ray = require("ray", "serve")
    store = ray.get_actor(STORE, namespace=NAMESPACE)
    store.tell.remote(name, document)
    told: dict[str, dict[str, Any]] = ray.get(store.told.remote(), timeout=5)
    return told


def told_counters(told: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The counters of every endpoint among what was told."""
    return {name: each["counters"] for name, each in told.items() if isinstance(each.get("counters"), dict)}
