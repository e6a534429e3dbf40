"""What is decided: features, routing, batching, chunking, admission, provisioning."""

from slackwise.policies.declare import (
    FAMILIES,
    Policy,
    admission_policy,
    batching_policy,
    chunking_policy,
    provisioning_policy,
    routing_policy,
)
from slackwise.policies.features import INSTANCE, REQUEST
from slackwise.policies.knobs import Choice, IntRange, Quantile, Range
from slackwise.policies.registry import find, policies

__all__ = [
    "FAMILIES",
    "INSTANCE",
    "REQUEST",
    "Choice",
    "IntRange",
    "Policy",
    "Quantile",
    "Range",
    "admission_policy",
    "batching_policy",
    "chunking_policy",
    "find",
    "policies",
    "provisioning_policy",
    "routing_policy",
]
