"""Envoy's external processing interface, package `envoy.service.ext_proc.v3`: the messages that a picker needs.

Field numbers are those of Envoy's data-plane API; responses and trailers of a response pass with an empty answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from slackwise.adapters.gateway.messages import message_classes
from slackwise.optional import require

SERVICE, METHOD = "envoy.service.ext_proc.v3.ExternalProcessor", "Process"
FULL_DUPLEX = 4
"""ProcessingMode.BodySendMode FULL_DUPLEX_STREAMED: the body is handed back piece by piece."""

TABLE = {
    "ProcessingRequest": {
        "request_headers": (2, "request | HttpHeaders"),
        "response_headers": (3, "request | HttpHeaders"),
        "request_body": (4, "request | HttpBody"),
        "response_body": (5, "request | HttpBody"),
        "request_trailers": (6, "request | HttpTrailers"),
        "response_trailers": (7, "request | HttpTrailers"),
        "protocol_config": (11, "ProtocolConfiguration"),
    },
    "ProtocolConfiguration": {"request_body_mode": (1, "int32"), "response_body_mode": (2, "int32")},
    "HttpHeaders": {"headers": (1, "HeaderMap"), "end_of_stream": (3, "bool")},
    "HttpBody": {"body": (1, "bytes"), "end_of_stream": (2, "bool")},
    "HttpTrailers": {"trailers": (1, "HeaderMap")},
    "HeaderMap": {"headers": (1, "* HeaderValue")},
    "HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "ProcessingResponse": {
        "request_headers": (1, "response | HeadersResponse"),
        "response_headers": (2, "response | HeadersResponse"),
        "request_body": (3, "response | BodyResponse"),
        "response_body": (4, "response | BodyResponse"),
        "request_trailers": (5, "response | TrailersResponse"),
        "response_trailers": (6, "response | TrailersResponse"),
        "immediate_response": (7, "response | ImmediateResponse"),
        "dynamic_metadata": (8, "Struct"),
    },
    "HeadersResponse": {"response": (1, "CommonResponse")},
    "BodyResponse": {"response": (1, "CommonResponse")},
    "TrailersResponse": {"header_mutation": (1, "HeaderMutation")},
    "CommonResponse": {
        "header_mutation": (2, "HeaderMutation"),
        "body_mutation": (3, "BodyMutation"),
        "clear_route_cache": (5, "bool"),
    },
    "HeaderMutation": {"set_headers": (1, "* HeaderValueOption"), "remove_headers": (2, "* string")},
    "HeaderValueOption": {"header": (1, "HeaderValue"), "append_action": (3, "int32")},
    "BodyMutation": {"streamed_response": (3, "mutation | StreamedBodyResponse")},
    "StreamedBodyResponse": {"body": (1, "bytes"), "end_of_stream": (2, "bool")},
    "ImmediateResponse": {
        "status": (1, "HttpStatus"),
        "headers": (2, "HeaderMutation"),
        "body": (3, "bytes"),
        "details": (5, "string"),
    },
    "HttpStatus": {"code": (1, "int32")},
    "Struct": {"fields": (1, "map Value")},
    "Value": {"string_value": (3, "kind | string"), "struct_value": (5, "kind | Struct")},
}


@cache
def processing_messages() -> dict[str, Any]:
    """The classes of TABLE."""
    return message_classes("ext_proc", TABLE)


def handler(process: Callable[[Any, Any], Any]) -> Any:
    """A gRPC handler of the service; `process(messages, context)` is an async generator of answers."""
    grpc, classes = require("grpc", "gateway"), processing_messages()
    method = grpc.stream_stream_rpc_method_handler(
        process,
        request_deserializer=classes["ProcessingRequest"].FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})
