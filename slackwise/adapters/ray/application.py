"""What `import_path` of the rendered configuration names: the application of Ray Serve, with emulated replicas."""

from __future__ import annotations

from pathlib import Path as File
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from starlette.requests import Request
from starlette.responses import JSONResponse

from slackwise.adapters.ray.emulated import ANSWER, EmulatedReplica
from slackwise.adapters.ray.hot import parse_bundle
from slackwise.adapters.ray.ingress import Path, answer, refusal
from slackwise.adapters.ray.routing import compile_routing
from slackwise.errors import InputError

INGRESS = "ingress"


class Ingress:
    """Takes requests from clients and sends their parts to the pools."""

    def __init__(self, arguments: dict[str, Any], handles: dict[str, Any], text: str) -> None:
        compile_routing(parse_bundle(text).policies)
        self.arguments, self.handles = arguments, handles
        self.path = Path(arguments["pools"], self._call)

    async def __call__(self, request: Request) -> JSONResponse:
        try:
            reply = await answer(request, self.path, self.arguments, ANSWER)
        except BackPressureError:
            reply = refusal(429, "all replicas are full")
        except (RayError, RayServeException):
            reply = refusal(503, "a replica was lost while it served this request: try again")
        return JSONResponse(reply.document, status_code=reply.status)

    async def _call(self, pool: str, call: dict[str, Any]) -> dict[str, Any]:
        answered: dict[str, Any] = await self.handles[pool].remote(call)
        return answered


def build(args: dict[str, Any]) -> Any:
    """The application. Raises InputError for what is not emulated: engines under Ray are not there yet."""
    if "emulate" not in args:
        raise InputError("only emulated replicas run under Ray as yet: slackwise deploy up --emulate")
    text = File(args["bundle"]).read_text(encoding="utf-8")
    handles = {
        pool["name"]: serve.deployment(name=pool["name"])(EmulatedReplica).bind(pool, float(args["emulate"]), text)
        for pool in args["pools"]
    }
    return serve.deployment(name=INGRESS, max_ongoing_requests=1000)(Ingress).bind(args, handles, text)
