"""Conformance of a policy, one line for anyone who writes one:

from slackwise.testing.policies import check_policy
def test_my_policy() -> None: check_policy(my_policy)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import CheckError, SlackwiseError
from slackwise.policies.declare import (
    ADMISSION,
    ADMIT,
    BATCHING,
    CHUNKING,
    DEMOTE,
    DROP,
    PROVISIONING,
    ROUTING,
    Params,
    Policy,
)
from slackwise.policies.golden_plan import tuples
from slackwise.policies.hashing import drawn_at
from slackwise.policies.lookup import DRAWN, MONOTONE, STATIC, TURN
from slackwise.policies.provisioning.pool import Memory, Plan
from slackwise.streams import stream
from slackwise.testing.records import Cases, random_cases, random_pool, random_requests
from slackwise.testing.views import FLEETS, random_questions

MOST_SETTINGS = 48
"""Settings of the knobs that are tried: the defaults, then combinations of their extremes."""


def check_policy(policy: Policy, seed: int = 0, cases: int = 200) -> None:
    """Hold `policy` to its contract on random valid records, at its defaults and at the extremes of its knobs.

    It compiles; plain and compiled agree bit for bit; values are numbers (routing: or +inf, but not for a whole pool);
    the same input gives the same output and is not written to; a chunk lies within [1, images_left]; an order declared
    fixed is; an admission policy admits, demotes or drops. Raises CheckError naming the policy, the knobs and the input
    of the first breach.
    """
    if not policy.source or not policy.summary:
        raise CheckError(f"policy '{policy.name}' needs a source and a docstring")
    if policy.family == PROVISIONING:
        for params in settings(policy):
            check_plans(policy, params, seed)
        return
    check_compiles(policy)
    sample = random_cases(cases, seed)
    if policy.family == CHUNKING:
        sample = with_images(sample)
    for params in settings(policy):
        check_pure(policy, params, sample)
        values = check_agreement(policy, params, sample)
        check_values(policy, params, values)
        check_family(policy, params, sample, values, seed)


def settings(policy: Policy) -> Iterator[Params]:
    """The params of the defaults, then of every combination of the knobs' extremes, MOST_SETTINGS at most."""
    yield policy.params()
    ends = product(*(knob.ends() for knob in policy.knobs.values()))
    for values in islice(ends, MOST_SETTINGS if policy.knobs else 0):
        yield policy.params(**dict(zip(policy.knobs, values, strict=True)))


def check_compiles(policy: Policy) -> None:
    """The policy compiles under the one signature of its family."""
    try:
        _ = policy.compiled
    except SlackwiseError as error:
        raise CheckError(str(error)) from None


def check_agreement(policy: Policy, params: Params, cases: Cases) -> NDArray[np.float64]:
    """Plain Python and machine code agree bit for bit; returns the values, float64, shape (n,)."""
    compiled = _values(policy.compiled, policy, params, cases)
    plain = _values(policy.function, policy, params, cases)
    different = compiled.view(np.int64) != plain.view(np.int64)
    different &= ~(np.isnan(compiled) & np.isnan(plain))
    if different.any():
        case = int(np.argmax(different))
        what = f"plain Python gives {plain[case]!r}, compiled {compiled[case]!r}"
        raise _breach(policy, params, f"{what} in case {case}")
    return compiled


def check_values(policy: Policy, params: Params, values: NDArray[np.float64]) -> None:
    """Every value is finite; routing may give +inf too."""
    allowed = np.isfinite(values)
    if policy.family == ROUTING:
        allowed |= values == math.inf
    if not allowed.all():
        case = int(np.argmin(allowed))
        raise _breach(policy, params, f"the value of case {case} is {values[case]}")


def check_pure(policy: Policy, params: Params, cases: Cases) -> None:
    """A second call gives the same value, and neither the records nor the params are written to."""
    before = cases.requests.tobytes(), cases.instances.tobytes(), params.tobytes()
    for function in (policy.compiled, policy.function):
        first, second = (_values(function, policy, params, cases) for _ in range(2))
        if before != (cases.requests.tobytes(), cases.instances.tobytes(), params.tobytes()):
            raise _breach(policy, params, "it writes to its input")
        if not np.array_equal(first, second, equal_nan=True):
            raise _breach(policy, params, "the same input gives another value the second time")


def check_family(policy: Policy, params: Params, cases: Cases, values: NDArray[np.float64], seed: int) -> None:
    """What only one family must keep."""
    if policy.family == ROUTING:
        check_somewhere_to_go(policy, params, seed)
        check_lookup(policy, params, seed)
    elif policy.family == BATCHING:
        check_order(policy, params, cases, seed)
    elif policy.family == ADMISSION:
        check_verdicts(policy, params, values)
    else:
        check_chunks(policy, params, cases, values)


def check_somewhere_to_go(policy: Policy, params: Params, seed: int) -> None:
    """In a pool of any size some instance has a finite cost."""
    generator = stream(seed, "pools")
    for size in (1, 2, 3, 5, 8, 48):
        pool, requests = random_pool(size, generator), random_requests(8, generator)
        for request in requests:
            costs = [policy.compiled(request, instance, float(request.arrival_s), params) for instance in pool]
            if min(costs) == math.inf:
                raise _breach(policy, params, f"all {size} instances of a pool cost +inf")


def check_lookup(policy: Policy, params: Params, seed: int) -> None:
    """What the declared lookup names as the cheapest instance of a pool is the cheapest, or cannot be undercut."""
    lookup = policy.lookup
    if not lookup.holds(policy.values(params)):
        return
    check = {STATIC: _check_static, MONOTONE: _check_monotone, TURN: _check_named, DRAWN: _check_named}[lookup.way]
    generator = stream(seed, "lookup")
    for size in (2, 3, 17):
        pool = random_pool(size, generator)
        for name in lookup.same:
            pool[name] = pool[name][0]
        for request in random_requests(20, generator):
            check(policy, params, request, pool, float(request.arrival_s))


def _check_static(policy: Policy, params: Params, request: Any, pool: Any, now: float) -> None:
    other = random_requests(1, stream(int(request.id), "other request"))[0]
    for instance in pool:
        if policy.compiled(request, instance, now, params) != policy.compiled(other, instance, now + 7.0, params):
            raise _breach(policy, params, "declared static, yet its cost changes with the request or the time")


def _check_monotone(policy: Policy, params: Params, request: Any, pool: Any, now: float) -> None:
    best, lookup = pool[:1].copy()[0], policy.lookup
    for name in lookup.rises:
        best[name] = pool[name].min()
    for name in lookup.falls:
        best[name] = pool[name].max()
    now = float(_telling_time(pool, now))
    bound = policy.compiled(request, best, now, params)
    if bound > min(policy.compiled(request, instance, now, params) for instance in pool):
        raise _breach(policy, params, "declared monotone, yet an instance undercuts the best of each feature")


def _telling_time(pool: Any, now: float) -> float:
    """A time at which some steps of the pool run and others are over."""
    return float(np.median(pool.busy_until_s)) if now < float(pool.busy_since_s.min()) else now


def _check_named(policy: Policy, params: Params, request: Any, pool: Any, now: float) -> None:
    size, lookup = len(pool), policy.lookup
    named = [int(request.sequence) % size]
    if lookup.way == DRAWN:
        turns = min(size, lookup.draws(policy.values(params)))
        named = sorted(drawn_at(float(request.draw), turn, size) for turn in range(turns))
    costs = [policy.compiled(request, instance, now, params) for instance in pool]
    if min(named, key=lambda at: costs[at]) != int(np.argmin(costs)):
        raise _breach(policy, params, f"instance {int(np.argmin(costs))} of {size} is the cheapest, not among {named}")


def check_order(policy: Policy, params: Params, cases: Cases, seed: int) -> None:
    """Where the order is declared fixed, two requests rank at any time, on any instance, as at now = 0.0.

    Differences within rounding (1e-9 relative) are ties, which the queue breaks by (arrival, id) anyway.
    """
    if not policy.fixed_order(params):
        return
    at_zero = _values(policy.compiled, policy, params, replace(cases, nows=np.zeros(len(cases))))
    generator = stream(seed, "order")
    for offset_s in (0.0, 1.0, 30.0, 3600.0):
        where = cases.instances[generator.integers(len(cases))]
        now = float(cases.requests.arrival_s.max()) + offset_s
        later = np.array([policy.compiled(request, where, now, params) for request in cases.requests])
        swapped = _order(at_zero) * _order(later) < 0
        if swapped.any():
            first, second = np.argwhere(swapped)[0]
            raise _breach(policy, params, f"declared fixed, yet requests {first} and {second} swap between 0 and {now}")


def check_chunks(policy: Policy, params: Params, cases: Cases, values: NDArray[np.float64]) -> None:
    """A chunk is a whole number of images, 1 at least and images_left at most."""
    within = (values >= 1) & (values <= cases.requests.images_left) & (values == np.floor(values))
    if not within.all():
        case = int(np.argmin(within))
        left = int(cases.requests.images_left[case])
        raise _breach(policy, params, f"case {case} takes {values[case]} of {left} images: whole numbers from 1")


def check_verdicts(policy: Policy, params: Params, values: NDArray[np.float64]) -> None:
    """An admission policy says ADMIT, DEMOTE or DROP."""
    known = np.isin(values, (ADMIT, DEMOTE, DROP))
    if not known.all():
        case = int(np.argmin(known))
        raise _breach(policy, params, f"case {case} gets {values[case]}: it may get {ADMIT}, {DEMOTE} or {DROP}")


def check_plans(policy: Policy, params: Params, seed: int) -> None:
    """A provisioning policy gives a Plan with one whole number of instances, 0 or more, for each pool.

    Twice the same to the same question; what it remembers is numbers, and survives being written as JSON.
    """
    for kind in range(len(FLEETS)):
        memory: Memory = ()
        for pools, now in random_questions(12, seed, kind):
            plan = policy.function(pools, now, params, memory)
            if not isinstance(plan, Plan) or not _whole(plan.targets, len(pools)):
                raise _breach(policy, params, f"it answers {plan!r} for pools {[pool.name for pool in pools]}")
            if plan != policy.function(pools, now, params, memory):
                raise _breach(policy, params, "the same question gets another answer the second time")
            memory = _written_and_read(policy, params, plan.memory)


def _whole(targets: Sequence[Any], pools: int) -> bool:
    return len(targets) == pools and all(type(each) is int and each >= 0 for each in targets)


def _written_and_read(policy: Policy, params: Params, memory: Memory) -> Memory:
    """The memory after it was JSON."""
    try:
        read: Memory = tuples(json.loads(json.dumps(memory, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise _breach(policy, params, f"its memory cannot be written as JSON: {error}") from None
    if read != memory:
        raise _breach(policy, params, f"its memory {memory!r} comes back from JSON as {read!r}")
    return read


def with_images(cases: Cases) -> Cases:
    """The cases whose requests have images left: the only ones that a chunking policy is asked about."""
    rows = cases.requests.images_left > 0
    return Cases(cases.requests[rows], cases.instances[rows], cases.nows[rows])


def _values(function: Callable[..., Any], policy: Policy, params: Params, cases: Cases) -> NDArray[np.float64]:
    arguments = zip(cases.requests, cases.instances, cases.nows.tolist(), strict=True)
    try:
        with np.errstate(all="ignore"):
            return np.array([function(request, instance, now, params) for request, instance, now in arguments], float)
    except (ArithmeticError, ValueError, TypeError, AttributeError) as error:
        raise _breach(policy, params, f"{type(error).__name__}: {error}") from None


def _order(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sign of each pair's difference, shape (n, n), 0 for a tie within rounding."""
    difference = values[:, None] - values[None, :]
    scale = np.maximum(1.0, np.maximum(np.abs(values)[:, None], np.abs(values)[None, :]))
    return np.where(np.abs(difference) <= 1e-9 * scale, 0.0, np.sign(difference))


def _breach(policy: Policy, params: Params, what: str) -> CheckError:
    return CheckError(f"{policy.family} policy '{policy.name}' with {policy.values(params)}: {what}")
