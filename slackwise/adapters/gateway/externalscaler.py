"""KEDA's external scaler interface, package `externalscaler`: the messages, and a gRPC service for them."""

from __future__ import annotations

from functools import cache
from typing import Any

from slackwise.adapters.gateway.messages import message_classes
from slackwise.optional import require

SERVICE = "externalscaler.ExternalScaler"
TABLE = {
    "ScaledObjectRef": {"name": (1, "string"), "namespace": (2, "string"), "scalerMetadata": (3, "map string")},
    "IsActiveResponse": {"result": (1, "bool")},
    "GetMetricSpecResponse": {"metricSpecs": (1, "* MetricSpec")},
    "MetricSpec": {"metricName": (1, "string"), "targetSize": (2, "int64"), "targetSizeFloat": (3, "double")},
    "GetMetricsRequest": {"scaledObjectRef": (1, "ScaledObjectRef"), "metricName": (2, "string")},
    "GetMetricsResponse": {"metricValues": (1, "* MetricValue")},
    "MetricValue": {"metricName": (1, "string"), "metricValue": (2, "int64"), "metricValueFloat": (3, "double")},
}
METHODS = {
    "IsActive": ("unary_unary", "ScaledObjectRef"),
    "StreamIsActive": ("unary_stream", "ScaledObjectRef"),
    "GetMetricSpec": ("unary_unary", "ScaledObjectRef"),
    "GetMetrics": ("unary_unary", "GetMetricsRequest"),
}
"""Method -> how it streams, and what it is asked with."""


@cache
def scaler_messages() -> dict[str, Any]:
    """The classes of TABLE."""
    return message_classes("externalscaler", TABLE)


def handler(servicer: Any) -> Any:
    """A gRPC handler of the service, for methods of `servicer` by their names."""
    grpc, classes = require("grpc", "gateway"), scaler_messages()
    methods = {
        name: getattr(grpc, f"{shape}_rpc_method_handler")(
            getattr(servicer, name),
            request_deserializer=classes[asked].FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        for name, (shape, asked) in METHODS.items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)
