"""The digest of a trace names its requests: the same ones alone have the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from slackwise.traces import synthesize
from slackwise.traces.trace import digest, facts


def test_the_digest_changes_with_any_request_and_with_the_reading_of_images_alone() -> None:
    trace = synthesize(0, duration_h=0.1)
    assert digest(trace) == digest(replace(trace, source="copy", notes={}))
    later = trace.arrival_s.copy()
    later[-1] = np.nextafter(later[-1], np.inf)
    longer = trace.output_tokens.copy()
    longer[0] += 1
    others = [
        replace(trace, arrival_s=later),
        replace(trace, output_tokens=longer),
        replace(trace, image_count="raw"),
        trace.take(slice(1, None)),
    ]
    assert len({digest(trace), *map(digest, others)}) == 5


def test_facts_hold_what_a_record_needs() -> None:
    trace = synthesize(0, duration_h=0.1)
    found = facts(trace)
    assert found["sha256"] == digest(trace)
    assert found["requests"] == len(trace)
