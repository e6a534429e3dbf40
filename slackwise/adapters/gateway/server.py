"""A gRPC server with its background loops: the loops end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from slackwise.errors import InputError
from slackwise.optional import require

GRACE_S = 5.0


async def serving(
    handler: Any,
    listen: str,
    loops: Sequence[Coroutine[Any, Any, None]],
    ready: Callable[[int], None],
    options: Sequence[tuple[str, int]] = (),
) -> None:
    """Serve `handler` at host:port `listen` until cancelled; `ready(port)` is called once it listens.

    Raises InputError if nothing can listen there.
    """
    server = require("grpc.aio", "gateway").server(options=[("grpc.so_reuseport", 0), *options])
    server.add_generic_rpc_handlers((handler,))
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError:
        port = 0
    if not port:
        for each in loops:
            each.close()
        raise InputError(f"cannot listen on {listen}: give a free host:port")
    await server.start()
    tasks = [asyncio.create_task(each) for each in loops]
    try:
        ready(port)
        await server.wait_for_termination()
    finally:
        for task in tasks:
            task.cancel()
        await server.stop(GRACE_S)
