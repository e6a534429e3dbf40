"""How many examples a fuzz test tries: few and the same, or new ones, as many as SLACKWISE_FUZZ_EXAMPLES says."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

ASKED = os.environ.get("SLACKWISE_FUZZ_EXAMPLES")

many = settings(
    max_examples=int(ASKED or 40),
    derandomize=ASKED is None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
