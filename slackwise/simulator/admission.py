"""Who is served at all: what the admission policy says of a request, and what giving one up means.

It is asked before the first token only: when a request comes to separate encoders, when it has been routed to its
prefill instance, and when it heads a queue and could be begun. With `admit_all` nothing is asked.
"""

from __future__ import annotations

from typing import Any

from slackwise.jit import part
from slackwise.simulator.ask import ask
from slackwise.simulator.log import DEMOTED, FAILED, note
from slackwise.simulator.state import ADMISSION, DROPPED, ENCODING
from slackwise.simulator.tables import group_of, instance_of, progress_of, ready_at, request_of

ADMIT, DEMOTE, DROP = 0, 1, 2


@part
def verdict(s: Any, request: int, instance: int, now: float) -> int:
    """ADMIT for an answer of 0 or less, DEMOTE up to 1, DROP above."""
    said = ask(s, ADMISSION, request_of(s, request), instance_of(s, instance), now)
    if said <= 0.0:
        return ADMIT
    return DEMOTE if said <= 1.0 else DROP


@part
def turned_away(s: Any, request: int, instance: int, now: float) -> bool:
    """Whether a request that is being routed to `instance` is dropped; it is demoted here too.

    Embeddings that travel one by one (overlap) are not called back: nobody with images missing is asked about.
    """
    if progress_of(s, request).generated > 0 or progress_of(s, request).images_missing > 0:
        return False
    return refused(s, request, instance, now)


@part
def refused(s: Any, request: int, instance: int, now: float) -> bool:
    """Whether a request is dropped, which nothing has to be taken back for; it is demoted here too."""
    said = verdict(s, request, instance, now)
    if said == DROP:
        fail(s, request, DROPPED, now)
        return True
    if said == DEMOTE and progress_of(s, request).demoted == 0:
        demote(s, request, instance)
    return False


@part
def least_busy_encoder(s: Any) -> int:
    """The ready encoder of the least backlog, ties to the lowest index: what is too much for it is so for all."""
    encoders = group_of(s, ENCODING)
    best = encoders.lead
    for at in range(encoders.ready):
        encoder = ready_at(s, ENCODING, at).instance
        if instance_of(s, encoder).backlog_s < instance_of(s, best).backlog_s:
            best = encoder
    return best


@part
def fail(s: Any, request: int, reason: int, now: float) -> None:
    """Give a request up, for one of FAILURES."""
    progress_of(s, request).failure = reason
    progress_of(s, request).failed_s = now
    s.failed += 1
    note(s, FAILED, request, progress_of(s, request).instance, 0, reason)


@part
def demote(s: Any, request: int, instance: int) -> None:
    """Put a request behind all others from now on."""
    progress_of(s, request).demoted = 1
    note(s, DEMOTED, request, instance, 0, 0)
