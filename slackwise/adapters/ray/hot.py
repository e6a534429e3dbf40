"""A bundle that changes while it is used: one named actor keeps its text, everything that decides follows it.

A change of Ray Serve's own configuration would replace every replica. A reader never waits and never sees an error:
what cannot be read, or decides differently here than where it was tuned, is left out and the last good bundle stays.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slackwise.errors import InputError, SlackwiseError
from slackwise.optional import require
from slackwise.policies.winner import Winner

STORE, NAMESPACE = "bundle", "slackwise"
MOST_BYTES = 16 * 2**20
"""Of a bundle."""

PERIOD_S = 0.5
MOST_TELLINGS, KEPT_S = 64, 60.0
"""Parts of the application that are heard of, and for how long."""


def parse_bundle(text: str) -> Winner:
    """The bundle in `text`: data, its golden decisions replayed; it may not name modules.

    Raises InputError if it is too large or no bundle, CheckError if it decides differently here.
    """
    if len(text) > MOST_BYTES:
        raise InputError(f"a bundle may have {MOST_BYTES} bytes, this one has {len(text)}")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"the bundle is not JSON: {error}") from None
    return Winner.from_dict(document)


class Bundle:
    """The bundle in use. `take` a newer one; `version` counts those that were taken."""

    def __init__(self, text: str) -> None:
        self.winner, self.version, self.error = parse_bundle(text), 1, ""

    def take(self, text: str) -> bool:
        """Use the bundle in `text` from now on; if it is bad, say why in `error` and keep the last good one."""
        try:
            self.winner, self.error = parse_bundle(text), ""
        except SlackwiseError as error:
            self.error = str(error)
            return False
        self.version += 1
        return True


def follow(bundle: Bundle, fetch: Callable[[int], tuple[int, str | None]], period_s: float = PERIOD_S) -> None:
    """A daemon thread that takes what `fetch(version already seen)` hands out: (version, text or None)."""

    def run() -> None:
        seen = 0
        while True:
            try:
                version, text = fetch(seen)
                if text is not None and version != seen:
                    bundle.take(text)
                seen = version
            except Exception as error:  # the store is not there (yet): the last good bundle stays
                bundle.error = str(error)
            time.sleep(period_s)

    threading.Thread(target=run, daemon=True, name="slackwise-bundle").start()


class Store:
    """The text of the bundle, how often it was put, and what the parts of the application say of themselves.

    Runs as an actor of Ray.
    """

    def __init__(self, text: str) -> None:
        self.text, self.version = text, 1
        self.tellings: dict[str, dict[str, Any]] = {}

    def get(self, seen: int) -> tuple[int, str | None]:
        """(version, the text unless `seen` is that version)."""
        return self.version, self.text if seen != self.version else None

    def tell(self, name: str, document: dict[str, Any]) -> None:
        """Keep what a part of the application says of itself."""
        self.tellings.pop(name, None)
        self.tellings[name] = {**document, "told_s": time.time()}
        while len(self.tellings) > MOST_TELLINGS:
            del self.tellings[next(iter(self.tellings))]

    def told(self) -> dict[str, dict[str, Any]]:
        """What every part said last, no longer than a minute ago."""
        return {name: each for name, each in self.tellings.items() if each["told_s"] > time.time() - KEPT_S}

    def put(self, text: str) -> int:
        """Keep a new text; its version. Raises InputError and keeps the old one if it is no bundle."""
        parse_bundle(text)
        self.text, self.version = text, self.version + 1
        return self.version


def open_store(text: str) -> Any:
    """The store, made with `text` if there is none, else given it. Needs a Ray that is connected."""
    ray = require("ray", "serve")
    try:
        store = ray.get_actor(STORE, namespace=NAMESPACE)
        ray.get(store.put.remote(text), timeout=60)
    except ValueError:
        made = ray.remote(num_cpus=0)(Store).options(name=STORE, namespace=NAMESPACE, lifetime="detached")
        store = made.remote(text)
    return store


def followed(path: str) -> Bundle:
    """The bundle at `path`, then what the store has."""
    ray = require("ray", "serve")
    bundle = Bundle(Path(path).read_text(encoding="utf-8"))

    def fetch(seen: int) -> tuple[int, str | None]:
        store = ray.get_actor(STORE, namespace=NAMESPACE)
        found: tuple[int, str | None] = ray.get(store.get.remote(seen), timeout=5)
        return found

    follow(bundle, fetch)
    return bundle
