"""Tables by address: compiled code reaches every array of a run through one record.

Handing the arrays themselves from function to function (20 of them, in a tuple) took Numba 54 s to compile; addresses
take about 20 s, and a call passes one pointer. The arrays belong to the Python side (state.State), which outlives
every compiled call. With NUMBA_DISABLE_JIT=1 the same accessors look at the same memory.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import from_dtype, types
from numba.core import cgutils
from numba.extending import intrinsic

from slackwise.jit import part
from slackwise.latency.costs import COSTS
from slackwise.policies.features import INSTANCE, REQUEST
from slackwise.policies.lookup import MOST_FEATURES
from slackwise.simulator.state import (
    ARRIVAL,
    CACHED,
    CHANGED,
    CLOCK,
    DECIDER,
    DRAW,
    ENGINE,
    ENTRY,
    FEATURE,
    GROUP,
    JOB,
    LEADER,
    LOG,
    MATCH,
    MEMBER,
    ORDER,
    POOL,
    PROGRESS,
    SLOT,
    TOKENS,
)


def _element(dtype: np.dtype[Any]) -> Callable[[int, int], Any]:
    """(address, index) -> the record of `dtype` there, for compiled code or, with the compiler off, for Python."""
    if numba.config.DISABLE_JIT:

        def look(address: int, index: int) -> Any:
            memory = (ctypes.c_char * dtype.itemsize).from_address(int(address) + int(index) * dtype.itemsize)
            return np.frombuffer(memoryview(memory).cast("B"), dtype).view(np.recarray)[0]

        return look
    record = from_dtype(dtype)

    def at(typingctx: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            size = context.get_constant(types.int64, dtype.itemsize)
            place = builder.add(arguments[0], builder.mul(arguments[1], size))
            return builder.inttoptr(place, context.get_value_type(record))

        return record(types.int64, types.int64), generate

    return intrinsic(at)


def _fixed(field: str) -> Callable[[Any], Any]:
    """s -> a field of CLOCK that no compiled call changes, so that it is loaded once and not after every store."""
    if numba.config.DISABLE_JIT:
        return operator.attrgetter(field)
    place = CLOCK.fields[field][1]  # type: ignore[index]

    def load(typingctx: Any, s: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            long = context.get_value_type(types.int64)
            bytes_at = builder.bitcast(arguments[0], cgutils.voidptr_t)
            address = builder.bitcast(cgutils.pointer_add(builder, bytes_at, place), long.as_pointer())
            loaded = builder.load(address)
            loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
            return loaded

        return types.int64(s), generate

    return intrinsic(load)


REAL, LONG, SHORT = np.dtype([("value", "f8")]), np.dtype([("value", "i8")]), np.dtype([("value", "i4")])
"""One feature of a record on its own."""

LAYOUTS = (
    REQUEST, PROGRESS, INSTANCE, ENGINE, POOL, GROUP, COSTS, JOB, SLOT, ENTRY, ARRIVAL, CACHED, DRAW, MATCH, TOKENS,
    FEATURE, CHANGED, LEADER, MEMBER, ORDER, LOG, DECIDER,
)  # fmt: skip
"""Every record that compiled code reaches by address: a change of any makes old machine code wrong."""

ENTRY_BYTES, INSTANCE_BYTES, MEMBER_BYTES = ENTRY.itemsize, INSTANCE.itemsize, MEMBER.itemsize
_request, _progress, _instance, _engine = _element(REQUEST), _element(PROGRESS), _element(INSTANCE), _element(ENGINE)
_pool, _costs, _job, _slot = _element(POOL), _element(COSTS), _element(JOB), _element(SLOT)
_group, _order, _member, _log = _element(GROUP), _element(ORDER), _element(MEMBER), _element(LOG)
_arrival, _cached = _element(ARRIVAL), _element(CACHED)
_real, _long, _short = _element(REAL), _element(LONG), _element(SHORT)
_decider = _element(DECIDER)
_feature, _changed, _leader = _element(FEATURE), _element(CHANGED), _element(LEADER)
_entry, _draw, _match, _tokens = _element(ENTRY), _element(DRAW), _element(MATCH), _element(TOKENS)
_arrivals_at = _fixed("arrivals_at")
_bounds_at = _fixed("bounds_at")
_buckets = _fixed("buckets")
_cached_at = _fixed("cached_at")
_changes_at = _fixed("changes_at")
_costs_at = _fixed("costs_at")
_decodes_at = _fixed("decodes_at")
_deciders_at = _fixed("deciders_at")
_draws_at = _fixed("draws_at")
_engines_at = _fixed("engines_at")
_features_at = _fixed("features_at")
_groups_at = _fixed("groups_at")
_instance_count = _fixed("instance_count")
_instances_at = _fixed("instances_at")
_job_queues_at = _fixed("job_queues_at")
_jobs_at = _fixed("jobs_at")
_leaders_at = _fixed("leaders_at")
_log_at = _fixed("log_at")
_matches_at = _fixed("matches_at")
_orders_at = _fixed("orders_at")
_pools_at = _fixed("pools_at")
_progress_at = _fixed("progress_at")
_queue_room = _fixed("queue_room")
_queues_at = _fixed("queues_at")
_ready_at = _fixed("ready_at")
_requests_at = _fixed("requests_at")
_sequences = _fixed("sequences")
_slots_at = _fixed("slots_at")
_tbt_at = _fixed("tbt_at")
_transfers_at = _fixed("transfers_at")


@part
def request_of(s: Any, request: int) -> Any:
    """REQUEST: what policies see of a request."""
    return _request(_requests_at(s), request)


@part
def progress_of(s: Any, request: int) -> Any:
    """PROGRESS: what only the simulator knows of a request."""
    return _progress(_progress_at(s), request)


@part
def instance_of(s: Any, instance: int) -> Any:
    """INSTANCE: what policies see of an instance."""
    return _instance(_instances_at(s), instance)


@part
def shown_of(s: Any, instance: int) -> Any:
    """INSTANCE: what routers see of an instance, which may be an old sample."""
    return _instance(s.shown_at, instance)


@part
def engine_of(s: Any, instance: int) -> Any:
    """ENGINE: the inside of an instance."""
    return _engine(_engines_at(s), instance)


@part
def pool_of(s: Any, pool: int) -> Any:
    """POOL: the rules of the instances of a pool."""
    return _pool(_pools_at(s), pool)


@part
def group_of(s: Any, group: int) -> Any:
    """GROUP: the instances that a routing decision chooses among."""
    return _group(_groups_at(s), group)


@part
def costs_of(s: Any, pool: int) -> Any:
    """COSTS of the instances of a pool."""
    return _costs(_costs_at(s), pool)


@part
def job_of(s: Any, job: int) -> Any:
    """JOB: an encode job."""
    return _job(_jobs_at(s), job)


@part
def slot_of(s: Any, instance: int, at: int) -> Any:
    """SLOT: row `at` of the lists of an instance."""
    return _slot(_slots_at(s), instance * _sequences(s) + at)


@part
def queue_heap(s: Any, instance: int) -> int:
    """Address of the heap of an instance's waiting requests."""
    return _queues_at(s) + instance * _queue_room(s) * ENTRY_BYTES


@part
def queued_at(s: Any, instance: int, at: int) -> Any:
    """ENTRY `at` of an instance's queue."""
    return _entry(_queues_at(s), instance * _queue_room(s) + at)


@part
def job_heap(s: Any, instance: int) -> int:
    """Address of the heap of an instance's waiting encode jobs."""
    return _job_queues_at(s) + instance * _queue_room(s) * ENTRY_BYTES


@part
def queued_job_at(s: Any, instance: int, at: int) -> Any:
    """ENTRY `at` of an instance's queue of encode jobs."""
    return _entry(_job_queues_at(s), instance * _queue_room(s) + at)


@part
def decode_heap(s: Any, instance: int) -> int:
    """Address of the heap of an instance's running decodes, by finish step."""
    return _decodes_at(s) + instance * _sequences(s) * ENTRY_BYTES


@part
def decode_at(s: Any, instance: int, at: int) -> Any:
    """ENTRY `at` of an instance's running decodes."""
    return _entry(_decodes_at(s), instance * _sequences(s) + at)


@part
def transfer_at(s: Any, at: int) -> Any:
    """ENTRY `at` of the embeddings on their way, by arrival."""
    return _entry(_transfers_at(s), at)


@part
def ready_at(s: Any, group: int, at: int) -> Any:
    """MEMBER: ready instance `at` of a group."""
    return _member(_ready_at(s), group * _instance_count(s) + at)


@part
def order_at(s: Any, at: int) -> Any:
    """ORDER `at` of those given."""
    return _order(_orders_at(s), at)


@part
def decider_of(s: Any, role: int) -> Any:
    """DECIDER: a policy of the run."""
    return _decider(_deciders_at(s), role)


@part
def decider_at(decider: int) -> Any:
    """DECIDER at this address."""
    return _decider(decider, 0)


@part
def request_at(request: int) -> Any:
    """REQUEST at this address."""
    return _request(request, 0)


@part
def record_at(records: int, instance: int) -> Any:
    """INSTANCE number `instance` of those at this address."""
    return _instance(records, instance)


@part
def member_at(members: int, at: int) -> Any:
    """MEMBER `at` of the list at this address."""
    return _member(members, at)


@part
def ready_list(s: Any, group: int) -> int:
    """Address of the list of a group's ready instances."""
    return _ready_at(s) + group * _instance_count(s) * MEMBER_BYTES


@part
def entry_at(heap: int, at: int) -> Any:
    """ENTRY `at` of the heap at this address."""
    return _entry(heap, at)


@part
def arrival_at(s: Any, at: int) -> Any:
    """ARRIVAL number `at`, in order of time."""
    return _arrival(_arrivals_at(s), at)


@part
def cached_at(s: Any, at: int) -> Any:
    """CACHED: an entry of an instance's cache."""
    return _cached(_cached_at(s), at)


@part
def draw_of(s: Any, decision: int) -> Any:
    """DRAW: the uniform number of a routing decision."""
    return _draw(_draws_at(s), decision)


@part
def match_of(s: Any, node: int) -> Any:
    """MATCH: a node of the tournament of next events."""
    return _match(_matches_at(s), node)


@part
def tbt_of(s: Any, category: int, bucket: int) -> Any:
    """TOKENS: a bucket of the TBT histogram of a class."""
    return _tokens(_tbt_at(s), category * _buckets(s) + bucket)


@part
def bound_of(s: Any, node: int) -> Any:
    """INSTANCE: a node of a tree of bounds."""
    return _instance(_bounds_at(s), node)


@part
def leader_of(s: Any, node: int) -> Any:
    """LEADER: a node of a tournament of costs."""
    return _leader(_leaders_at(s), node)


@part
def feature_of(s: Any, group: int, at: int) -> Any:
    """FEATURE `at` that the tree of a group keeps."""
    return _feature(_features_at(s), group * MOST_FEATURES + at)


@part
def changed_at(s: Any, group: int, at: int) -> Any:
    """CHANGED: entry of the list of a group's changed instances."""
    return _changed(_changes_at(s), group * _instance_count(s) + at)


@part
def real_at(address: int) -> Any:
    """A float64 feature."""
    return _real(address, 0)


@part
def long_at(address: int) -> Any:
    """An int64 feature."""
    return _long(address, 0)


@part
def short_at(address: int) -> Any:
    """An int32 feature."""
    return _short(address, 0)


@part
def log_of(s: Any, at: int) -> Any:
    """LOG: row `at` of the event log."""
    return _log(_log_at(s), at)
