"""An endpoint's answers as Starlette's responses."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from slackwise.adapters.ray.ingress import Endpoint, Reply

LEFT = 499
"""Status where the client has gone before its request was there; nobody reads it."""


async def respond(endpoint: Endpoint, request: Request) -> Response:
    """The response to a request."""
    try:
        reply = await endpoint.answer(request)
    except ClientDisconnect:
        return Response(status_code=LEFT)
    if isinstance(reply, Reply):
        return JSONResponse(reply.document, status_code=reply.status, headers=reply.headers)
    return StreamingResponse(reply.events, media_type="text/event-stream")
