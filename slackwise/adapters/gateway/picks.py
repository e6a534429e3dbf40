"""Which server a request goes to: the bundle's routing policy over the newest reports of a pool's servers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from slackwise.adapters.gateway.deployment import Deployment
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.routing import Choice, PoolRouter
from slackwise.adapters.ray.workload import Asked, read_chat
from slackwise.errors import InputError, unknown
from slackwise.policies.features import ENCODE, PREFILL

NOTHING = Asked((), 0, 1)
"""What a request without a body asks for."""


class RefusedError(Exception):
    """A request that goes nowhere, with the status and the reason that its client gets."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Picker:
    """Picks servers of one pool; counts what it sends until it is known to be done."""

    def __init__(self, deployment: Deployment, pool: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self.deployment, self.clock = deployment, clock
        self.size = _pool(deployment, pool)
        self.encoded = not self.size.stages & ENCODE
        self.work = deployment.feed.work[self.size.name]
        role = (
            "encode_routing"
            if self.size.stages == ENCODE
            else "routing"
            if self.size.stages & PREFILL
            else "decode_routing"
        )
        self.router = PoolRouter(deployment.bundle.winner.policies, role, self.work, self.size.stages)
        self.version, self.heard = deployment.bundle.version, -1

    def pick(self, body: bytes | None) -> Choice:
        """The server for a request, counted at once; its name is its host:port.

        Raises RefusedError for a body that is too large or no chat request, and if no server answers.
        """
        asked = NOTHING if body is None else self._read(body)
        self._renew()
        request = self.work.request(asked, now := self.clock())
        if self.size.stages == ENCODE:
            request = self.work.job(request)
        elif self.encoded:
            request = self.work.encoded(request)
        try:
            return self.router.choose(request, now)
        except InputError:
            raise RefusedError(503, "no server of this pool answers") from None

    def done(self, choice: Choice) -> None:
        """The request has been answered."""
        self.router.back(choice, self.clock())

    def leave(self, choice: Choice) -> None:
        """Nobody will say when the request is answered: it counts until its server's next report."""
        self.router.leave(choice)

    def too_large(self, size: int) -> RefusedError | None:
        """Why a body of so many bytes is refused, None if it is not."""
        most = self.deployment.body_bytes
        return RefusedError(413, f"a body may have {most} bytes") if size > most else None

    def _read(self, body: bytes) -> Asked:
        if (refused := self.too_large(len(body))) is not None:
            raise refused
        try:
            return read_chat(json.loads(body), self.deployment.images_per_request)
        except InputError as error:
            raise RefusedError(400, str(error)) from None
        except (ValueError, RecursionError):
            raise RefusedError(400, "the body is not JSON") from None

    def _renew(self) -> None:
        """Take in new reports and a new bundle, if there are any."""
        bundle, feed = self.deployment.bundle, self.deployment.feed
        if self.version != bundle.version:
            self.version = bundle.version
            self.router.load(bundle.winner.policies)
        if self.heard != feed.looks:
            self.heard = feed.looks
            heard = {name: each for name, each in feed.pools.get(self.size.name, {}).items() if each.report is not None}
            self.router.members(heard)
            for name, each in heard.items():
                self.router.books.hear(name, each.report or {}, each.made_s)


def _pool(deployment: Deployment, name: str | None) -> FleetPool:
    """The pool of that name; by default the first that prefills."""
    if name is None:
        return next(each for each in deployment.sizes if each.stages & PREFILL)
    found = [each for each in deployment.sizes if each.name == name]
    if not found:
        raise unknown("pool", name, [each.name for each in deployment.sizes])
    return found[0]
