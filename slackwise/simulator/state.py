"""The simulator's state: structured arrays that Python owns, so that a run can stop, be looked at and go on.

REQUEST and INSTANCE (policies.features) are what policies see. PROGRESS and ENGINE hold what they must not see, the
true output length above all. A POOL is a range of instances of one kind with its engine rules.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from slackwise.latency.costs import COSTS
from slackwise.policies.features import INSTANCE
from slackwise.policies.lookup import MOST_FEATURES

CLASSES = ("text-only", "image", "image-heavy")
"""Classes of requests in every table; image-heavy means features.HEAVY_IMAGES images or more."""

FAILURES = ("", "rejected", "unfinished", "dropped", "crashed", "lost")
"""Why a request was not served to its end, by PROGRESS.failure; the empty word: it was, or still may be.

"rejected": it can never fit the KV cache; "unfinished": the run ended before (neither is ever in a state); "dropped":
the admission policy gave it up; "crashed": more crashes hit it than it may survive; "lost": its embeddings or KV cache
were lost more often in a row than they are sent.
"""
REJECTED, UNFINISHED, DROPPED, GAVE_OUT, LOST_FOR_GOOD = 1, 2, 3, 4, 5

BUCKETS_PER_DECADE = 256
BUCKETS = 6 * BUCKETS_PER_DECADE
SHORTEST_TBT_S = 1e-4
"""TBT histogram: logarithmic buckets of 0.9 % from 0.1 ms to 100 s."""

PROGRESS = np.dtype(
    [
        ("first_token_s", "f8"),  # nan until it exists
        ("finish_s", "f8"),
        ("encode_begun_s", "f8"),  # first step of a separate encoder that held an image of it
        ("encoded_s", "f8"),  # when the last image was encoded
        ("queued_s", "f8"),  # first time that a prefill instance had all it needs
        ("prefill_begun_s", "f8"),  # first admission to prefill
        ("decode_queued_s", "f8"),  # where decodes are apart: first time that a decode instance had its KV cache ...
        ("decode_begun_s", "f8"),  # ... and first admission there
        ("failed_s", "f8"),  # when it was given up
        ("last_token_s", "f8"),  # kept for preempted and stalled requests
        ("transfer_s", "f8"),  # seconds to move the embeddings to the LLM between servers
        ("near_transfer_s", "f8"),  # ... within a server
        ("link_estimate_s", "f8"),  # predicted for it before there are embeddings
        ("luck", "f8"),  # uniform in [0, 1), from which hangs which of its transfers are lost
        ("prefill_s", "f8"),  # predicted seconds to prefill the whole prompt
        ("image_s", "f8"),  # predicted seconds to encode one image
        ("job_s", "f8"),  # predicted seconds to encode its largest job
        ("finish_step", "i8"),  # decode step of its instance at whose end it finishes
        ("admitted", "i8"),  # order of admission on its instance
        ("output_tokens", "i4"),  # the true output length, at least 1
        ("generated", "i4"),  # tokens emitted when decoding last began
        ("target_tokens", "i4"),  # tokens that prefill has to compute: prompt, plus what a preempted one had generated
        ("prefilled_tokens", "i4"),
        ("image_kv_tokens", "i4"),  # KV of images outside the sequence (cross-attention), in text tokens
        ("extra_tokens", "i4"),  # linear-layer work of these images at the first chunk, in tokens
        ("sequence_tokens_per_image", "i4"),  # 0 for cross-attention models
        ("jobs_left", "i4"),
        ("uncut_images", "i4"),  # to be encoded apart and in no job
        ("jobs_cut", "i4"),  # ever
        ("to_send", "i4"),  # 1 if its embeddings are encoded apart and have to be sent where it is routed
        ("sends", "i4"),  # of embeddings or its KV cache
        ("crashes", "i4"),  # of instances that it was on
        ("images_cached", "i4"),  # encoded where they are prefilled, and not yet used by prefill
        ("images_missing", "i4"),  # with overlap: from the first one on whose embeddings are not there
        ("first_job", "i4"),  # with overlap: the job of that image
        ("parts_held", "i4"),  # with overlap: jobs that are done and not sent, as nobody is ready to take them
        ("joined", "i4"),  # with overlap: 1 once it is queued at its LLM instance
        ("encode_server", "i4"),  # server that holds its embeddings: -1 none yet, -2 several
        ("encoder", "i4"),  # instance that encoded its last image, -1 if none
        ("instance", "i4"),  # instance that it was last routed to for prefill or decode, -1 if none yet
        ("holder", "i4"),  # instance that prefilled it and holds its KV cache until the decode instance has it
        ("preemptions", "i4"),
        ("lanes", "i4"),  # encoders that were ready when its images were cut into jobs
        ("content", "i4"),  # the first request with the same images and prompt; itself if there is none
        ("cached", "i4"),  # newest entry of the list of this content, kept in the row of its first request
        ("job_first", "i4"),  # place of the first image of the job in question
        ("next_parked", "i4"),  # who waits behind it while no instance of a group is ready, -1 if none
        ("demoted", "i4"),  # 1 if it is served behind all others
        ("failure", "i4"),  # index into FAILURES
        ("category", "i4"),  # index into CLASSES
    ],
    align=True,
)

STAMPS = (
    "encode_begun_s", "encoded_s", "queued_s", "prefill_begun_s", "first_token_s", "decode_queued_s", "decode_begun_s",
    "finish_s",
)  # fmt: skip
"""Times of a request in PROGRESS, in the order in which they come to be; nan until then."""

OFF, STARTING, READY, DRAINING, DOWN = 0, 1, 2, 3, 4
"""Status of an instance: no GPU; loading; takes work; finishes its work, then OFF; crashed."""

ENGINE = np.dtype(
    [
        ("step_start_s", "f8"),
        ("step_end_s", "f8"),  # infinite while idle
        ("decode_base_s", "f8"),  # a decode-only step without its KV term
        ("slow", "f8"),  # factor of the steps that begin now: 1 but for a straggler
        ("pace", "f8"),  # ... of the running step
        ("link", "f8"),  # factor of transfers from and to it
        ("last_decode_s", "f8"),  # end of the last step that decoded (prefill-first engines stall decodes)
        ("busy_s", "f8"),
        ("encode_busy_s", "f8"),  # of these, the encode part of steps
        ("prefill_busy_s", "f8"),  # the rest of the steps that computed prompt tokens
        ("decode_steps", "i8"),  # decode steps completed
        ("leap_steps", "i8"),  # steps in progress: 1, or the length of the leap
        ("decode_kv_tokens", "i8"),  # KV tokens of the running decodes
        ("kv_used_tokens", "i8"),
        ("cache_tokens", "i8"),  # of what is kept for requests that come again (cache.py)
        ("oldest", "i8"),  # entry of that
        ("newest", "i8"),
        ("encoder_cache_tokens", "i8"),  # embeddings that prefill has not used yet
        ("admissions", "i8"),
        ("step_tokens", "i8"),  # prompt tokens of the running step, extra work of images included
        ("step_tiles", "i8"),
        ("step_images", "i8"),  # images of the requests that prefill in the running step
        ("step_pairs", "f8"),  # prefill attention of the running step
        ("pool", "i8"),
        ("server", "i8"),  # that it stands on
        ("queued", "i8"),  # requests
        ("queued_jobs", "i8"),
        ("decodes", "i8"),
        ("in_flight", "i8"),  # requests between two chunks of their prefill
        ("work", "i8"),  # entries of the running step that encode or prefill
        ("fresh", "i8"),  # decodes whose first token came after the last decode step
        ("decoding", "i8"),  # 1 if the running step advances the decodes
        ("leaping", "i8"),  # 1 if the running step may be cut at any step boundary
        ("changed", "i8"),  # bit g: it is in the list of changed instances of group g
        ("category_decodes", "i8", (len(CLASSES),)),
        ("status", "i8"),  # OFF, STARTING, READY, DRAINING or DOWN
        ("since_s", "f8"),  # start of what is charged now: the order to start it
        ("held_gpu_s", "f8"),  # GPU-seconds charged for what was released again
        ("ready_s", "f8"),  # when its start-up is over
        ("drained_s", "f8"),  # when it last stopped taking work
        ("released_s", "f8"),  # when it was last released, nan if never
        ("assigned_before", "i8"),  # what had been routed here when it stopped taking work
        ("successor", "i8"),  # head of the chain of instances that start on its GPUs once it is released, -1 if none
        ("sibling", "i8"),  # next of such a chain, -1 at its end
        ("awaits", "i8"),  # releases that it waits for before it starts; 0 if it is not reserved
        ("switch_s", "f8"),  # seconds to start in place of another
        ("lent_gpus", "i8"),  # GPUs released to it while it waits for the rest
    ],
    align=True,
)

TABLE = 8193
"""Length of the tables of linear-layer seconds: 0 to 8192 tokens, then a constant slope."""

POOL = np.dtype(
    [
        ("stages", "i8"),
        ("max_sequences", "i8"),
        ("max_step_tokens", "i8"),
        ("encoder_budget_tokens", "i8"),
        ("encoder_cache_tokens", "i8"),
        ("cache_tokens", "i8"),  # capacity for what may come again: embeddings on encoders, prompts where they prefill
        ("max_chunk_tokens", "i8"),  # prompt tokens of one request in one step
        ("max_step_jobs", "i8"),  # encode jobs in one step of an encoder
        ("prefill_first", "i8"),
        ("fixed_order", "i8"),  # 1 if the batching policy's order of requests never changes with time
        ("fixed_job_order", "i8"),  # ... of encode jobs
        ("ranks_estimates", "i8"),  # 1 if the rank of an encode job hangs on its request's encode estimate
        ("watermark_tokens", "i8"),
        ("linear_s", "f8", (TABLE,)),  # seconds of the linear layers by tokens of the step
    ],
    align=True,
)

GROUP = np.dtype(
    [
        ("first", "i8"),
        ("count", "i8"),  # instances, whatever their status
        ("role", "i8"),  # who decides
        ("decisions", "i8"),  # taken so far
        ("way", "i8"),  # how the cheapest is found: policies.lookup
        ("draws", "i8"),  # instances that a decision draws
        ("features", "i8"),  # that the tree of bounds keeps
        ("leaves", "i8"),  # of the tree, a power of two; 0 without one
        ("tree", "i8"),  # row of `bounds` or `leaders` before its root
        ("changes", "i8"),  # instances changed since the tree was up to date
        ("ready", "i8"),  # instances that take work
        ("lead", "i8"),  # the first of them, -1 if there is none
        ("parked", "i8"),  # requests that wait until one is ready ...
        ("parked_first", "i8"),  # ... a list linked by PROGRESS.next_parked
        ("parked_last", "i8"),
    ],
    align=True,
)
"""The instances that one kind of routing decision chooses among: a range, how it is searched (index.py), who waits."""

DECIDER = np.dtype([("function", "i8"), ("loop", "i8"), ("params", "i8"), ("knobs", "i8")], align=True)
"""A policy of the run by address: its function, its loop if it routes, its knobs and their number (ask.py)."""

ENCODE_ROUTING, ENCODE_BATCHING, CHUNKING, ROUTING, BATCHING, DECODE_ROUTING, ADMISSION = 0, 1, 2, 3, 4, 5, 6
"""Decisions, by their place in ROLES."""

ROLES = ("encode_routing", "encode_batching", "chunking", "routing", "batching", "decode_routing", "admission")

FEATURE = np.dtype([("place", "i8"), ("kind", "i8"), ("falls", "i8")], align=True)
"""A feature of INSTANCE that a tree keeps: its byte, its type, and whether the highest value is the one to keep."""

REAL_KIND, LONG_KIND, SHORT_KIND = 0, 1, 2
"""Types of features: float64, int64, int32."""

CHANGED = np.dtype([("instance", "i8")])
MEMBER = np.dtype([("instance", "i8")])
"""Lists of instances of each group: changed since its tree was up to date; ready."""

LEADER = np.dtype([("cost", "f8"), ("instance", "i8")])
"""The cheapest instance below a node of a group's tournament."""

ENCODING, PREFILLING, DECODING = 0, 1, 2
"""Groups: separate encoders (empty if the prefill instances encode), prefill, separate decode (empty likewise)."""

START, OPEN, DRAIN, RECALL, RESERVE, CRASH, SLOW, LINK, SAMPLE = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""Kinds of orders; lifecycle.py and, from CRASH on, mishaps.py say what each does."""

ORDER = np.dtype(
    [
        ("time_s", "f8"),  # when it takes effect
        ("issued_s", "f8"),  # the time up to which the run had come when it was given
        ("value", "f8"),
        ("kind", "i8"),
        ("instance", "i8"),
        ("other", "i8"),  # another instance, -1 if none
        ("count", "i8"),
        ("given", "i8"),  # 1 if it was given from outside, 0 if it follows from another
    ],
    align=True,
)
"""A timed command to an instance. Its entry in the heap of deliveries says when; at one time before anything else."""

ORDERS_FIRST = 1 << 62
"""Taken off the tie-break of an order, so that it comes before every delivery of its time."""

JOB = np.dtype(
    [
        ("request", "i8"),
        ("images", "i8"),
        ("first", "i8"),  # place of its first image in the request
        ("ordinal", "i8"),
        ("next", "i8"),  # job of the same request, -1 after the last
        ("encoder", "i8"),  # that ran it
        ("landed", "i8"),  # with overlap: 1 if its embeddings are there and others before them are not, 2 if not sent
        ("free", "i8"),  # a table apart: the free jobs
    ],
    align=True,
)
"""An encode job."""

SLOT = np.dtype(
    [
        ("rank", "f8"),  # of the unfinished prefill, while they are sorted
        ("in_flight", "i8"),  # list of requests between two chunks of their prefill
        ("fresh", "i8"),  # list of decodes whose first token came after the last decode step
        ("ident", "i8"),  # list of the requests (or jobs) that encode or prefill in the running step ...
        ("tokens", "i8"),  # ... their prompt tokens
        ("images", "i8"),  # ... and their images
    ],
    align=True,
)
"""Row of the lists that an instance keeps, each with its own length in ENGINE."""

ENTRY = np.dtype([("key", "f8"), ("order", "i8"), ("ident", "i8")], align=True)
"""An element of a heap: lowest key first, ties by `order`, which holds arrival rank and job ordinal."""

CACHED = np.dtype(
    [
        ("content", "i8"),
        ("instance", "i8"),
        ("first", "i8"),  # place of the first image
        ("images", "i8"),  # of the encode job; 0 for a prompt
        ("tokens", "i8"),
        ("alike", "i8"),  # next entry of the same content, -1 after the last
        ("older", "i8"),  # neighbours in the order of use on its instance, -1 at the ends
        ("newer", "i8"),
        ("free", "i8"),  # a table apart: the free rows
    ],
    align=True,
)
"""What an instance keeps in case the same content comes again."""

ARRIVAL = np.dtype([("ready_s", "f8"), ("request", "i8")])
"""A request as it reaches the router: in order of time, then of the trace; later than it arrived if preprocessed."""

DRAW = np.dtype([("value", "f8")])
MATCH = np.dtype([("key", "f8"), ("winner", "i8")])
"""A node of the tournament of next events: the earliest step end below it, and whose it is (-1: nobody)."""
TOKENS = np.dtype([("tokens", "i8")])

LOG = np.dtype(
    [
        ("time_s", "f8"),  # when it happened; rows are in this order
        ("since_s", "f8"),  # begin of the step that ends then; time_s of an event that takes no time
        ("kind", "i4"),  # index into log.KINDS
        ("request", "i4"),  # -1 if it is about none
        ("instance", "i4"),  # -1 if it is about none
        ("steps", "i4"),  # of the leap
        ("decodes", "i4"),  # requests that got a token in each of these steps
        ("images", "i4"),  # encoded; of the job that was routed
        ("tiles", "i4"),  # encoded, padding included
        ("tokens", "i4"),  # prompt tokens computed; output tokens of a request that finished
    ],
    align=True,
)
"""A row of the event log (log.py)."""

TABLES = (
    "requests", "progress", "instances", "engines", "pools", "groups", "costs", "queues", "job_queues", "decodes",
    "slots", "jobs", "transfers", "orders", "matches", "arrivals", "cached", "draws", "tbt", "bounds", "leaders",
    "features", "changes", "ready", "log", "samples",
)  # fmt: skip
"""The arrays of a state; the clock holds the address of each."""

CLOCK = np.dtype(
    [
        ("now_s", "f8"),  # time of the last event
        ("reached_s", "f8"),  # time up to which the run has come
        ("next_arrival", "i8"),  # row of the arrivals
        ("finished", "i8"),
        ("failed", "i8"),  # given up
        ("crashing", "i8"),  # 1 if instances may crash
        ("retries", "i8"),  # crashes that a request survives
        ("loss_word", "i8"),  # 2^32 x the probability that a transfer is lost
        ("tries", "i8"),  # transfers that may be lost in a row
        ("timeout_s", "f8"),  # after which one is sent again
        ("sampled", "i8"),  # samples of the instances' records, for routers that see them late
        ("shown", "i8"),  # which of those kept the routers see
        ("shown_at", "i8"),  # its address, or that of the instances
        ("admitting", "i8"),  # 1 if there is an admission policy to ask
        ("events", "i8"),
        ("steps", "i8"),
        ("draws_used", "i8"),
        ("transfers", "i8"),  # embeddings and KV caches on their way, and orders to come
        ("orders", "i8"),  # given so far
        ("free_jobs", "i8"),
        ("longest_queue", "i8"),  # ever
        ("request_count", "i8"),
        ("sequences", "i8"),  # rows of an instance's lists
        ("queue_room", "i8"),
        ("transfer_room", "i8"),
        ("order_room", "i8"),
        ("most_images", "i8"),  # of any request
        ("gpu_cap", "i8"),  # GPUs that the instances may hold together
        ("leaves", "i8"),
        ("buckets", "i8"),
        ("draw_count", "i8"),
        ("indexed", "i8"),  # 1 if any group has a tree of bounds
        ("instance_count", "i8"),
        ("log_kinds", "i8"),  # bits of the kinds of events to log, 0 for no log
        ("log_room", "i8"),
        ("logged", "i8"),  # rows so far, those left out included
        ("kv_link_s", "f8"),  # moving a KV cache between servers: seconds, and seconds a token for one GPU
        ("kv_link_s_per_token", "f8"),
        ("caching", "i8"),  # 1 if anything is kept for requests that come again
        ("free_cached", "i8"),
        ("jobs_found", "i8"),  # encode jobs whose embeddings were there
        ("prefixes_found", "i8"),  # prompts whose prefix was there
        ("overlap_tokens", "i8"),  # smallest chunk while images are missing; 0: prefill waits for all of them
        ("near_kv_link_s", "f8"),  # ... within a server
        ("near_kv_link_s_per_token", "f8"),
        ("deciders_at", "i8"),  # address of the DECIDERs of the run (ask.py)
        *((f"{table}_at", "i8") for table in TABLES),
    ],
    align=True,
)
"""The one record that compiled code is given: counters, sizes and the addresses of the tables (see tables.py)."""


ROOMS = ("queues", "jobs", "cached", "transfers", "orders")
"""What may run out of room while a run goes on; queues are those of requests and of jobs."""


@dataclass
class State:
    """All that a run needs besides its policies: n requests, m instances, p pools."""

    requests: Any  # REQUEST (n,)
    progress: Any  # PROGRESS (n,)
    instances: Any  # INSTANCE (m,)
    engines: Any  # ENGINE (m,)
    pools: Any  # POOL (p,)
    groups: Any  # GROUP (3,)
    costs: Any  # COSTS (p,)
    queues: Any  # ENTRY (m, queue room): heaps of waiting requests
    job_queues: Any  # ENTRY (m, queue room): heaps of waiting encode jobs
    decodes: Any  # ENTRY (m, sequences): heaps of running decodes by finish step
    slots: Any  # SLOT (m, sequences)
    jobs: Any  # JOB (jobs,)
    transfers: Any  # ENTRY (transfer room,): a heap by time, of deliveries and orders
    orders: Any  # ORDER (order room,): in the order given
    matches: Any  # MATCH (2 * power of two,): tournament of the instances' next events
    arrivals: Any  # ARRIVAL (n,)
    cached: Any  # CACHED (any number,)
    draws: Any  # DRAW (any number,): uniform, one a routing decision, used in turn
    tbt: Any  # TOKENS (classes, BUCKETS): tokens by time since the one before
    bounds: Any  # INSTANCE (nodes of all trees,): the best value of each feature below a node
    leaders: Any  # LEADER (nodes and leaves of all tournaments,)
    features: Any  # FEATURE (groups, MOST_FEATURES)
    changes: Any  # CHANGED (groups, m): instances to bring the tree up to date with
    ready: Any  # MEMBER (groups, m): ready instances of each group, in order
    log: Any  # LOG (limit,): what happened
    samples: Any  # INSTANCE (samples kept, m): records as routers see them late; none if they do not
    clock: Any  # CLOCK (1,)

    def point(self) -> None:
        """Write sizes and addresses into the clock; needed whenever an array was replaced."""
        clock = self.clock[0]
        clock.request_count, clock.sequences = len(self.requests), self.slots.shape[1]
        clock.queue_room, clock.transfer_room = self.queues.shape[1], len(self.transfers)
        clock.order_room = len(self.orders)
        clock.draw_count, clock.instance_count = len(self.draws), len(self.instances)
        clock.log_room = len(self.log)
        clock.leaves, clock.buckets = len(self.matches) // 2, self.tbt.shape[1]
        for table in TABLES:
            array = getattr(self, table)
            if not array.flags.c_contiguous:
                raise AssertionError(f"{table} is not contiguous")
            clock[f"{table}_at"] = array.ctypes.data
        shown = self.samples[clock.shown] if len(self.samples) else self.instances
        clock.shown_at = shown.ctypes.data

    def copy(self) -> State:
        """All arrays anew; runs on without touching this state."""
        twin = State(**{field.name: getattr(self, field.name).copy() for field in fields(self)})
        twin.point()
        return twin

    def become(self, other: State) -> None:
        """Take over every value of a copy made earlier, in the arrays that are here."""
        for field in fields(self):
            mine, its = getattr(self, field.name), getattr(other, field.name)
            if mine.shape == its.shape:
                mine[...] = its
            else:
                setattr(self, field.name, its.copy())
        self.point()

    def grow(self, room: str) -> None:
        """Double one of ROOMS."""
        clock = self.clock[0]
        if room == "queues":
            self.queues = _wider(self.queues, (self.queues.shape[0], 2 * self.queues.shape[1]))
            self.job_queues = _wider(self.job_queues, self.queues.shape)
        elif room == "jobs":
            self.jobs, clock.free_jobs = _with_free_rows(self.jobs, int(clock.free_jobs))
        elif room == "cached":
            self.cached, clock.free_cached = _with_free_rows(self.cached, int(clock.free_cached))
        elif room == "transfers":
            self.transfers = _wider(self.transfers, (2 * len(self.transfers),))
        elif room == "orders":
            self.orders = _wider(self.orders, (2 * len(self.orders),))
        else:
            raise AssertionError(f"nothing called {room} grows")
        self.point()

    def reserve(self, orders: int) -> None:
        """Make room for so many more orders beside those that follow from them."""
        clock = self.clock[0]
        needed, carried = int(clock.orders + clock.leaves) + orders + 2, int(clock.transfers) + orders + 1
        if needed > len(self.orders):
            self.orders = _wider(self.orders, (max(needed, 2 * len(self.orders)),))
        if carried > len(self.transfers):
            self.transfers = _wider(self.transfers, (max(carried, 2 * len(self.transfers)),))
        self.point()


def records(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Zeroed structured array whose fields are attributes, compiled or not."""
    return np.zeros(shape, dtype).view(np.recarray)


def _wider(array: Any, shape: tuple[int, ...]) -> Any:
    larger = records(shape, array.dtype)
    larger[tuple(slice(length) for length in array.shape)] = array
    return larger


def _with_free_rows(table: Any, free: int) -> tuple[Any, int]:
    """The table at twice its length, the new rows on the stack of free ones, and the length of that."""
    old = len(table)
    wider = _wider(table, (2 * old,))
    wider.free[: old + free] = np.concatenate([np.arange(old, 2 * old), table.free[:free]])
    return wider, old + free


def allocate(
    requests: Any, progress: Any, pools: int, instances: int, sequences: int, queue: int = 4099, jobs: int = 8192
) -> State:
    """The state of a run that has not begun; `sequences` bounds the requests (or jobs) an instance runs at a time.

    `queue` and `jobs` are the first sizes of what grows. Rows of an instance's tables are a few entries longer than a
    power of two: were they whole pages long, the heads of all instances would fall into the same few cache lines.
    """
    sequences += 3
    leaves = 1 << max(1, (instances - 1).bit_length())
    state = State(
        requests=requests,
        progress=progress,
        instances=records(instances, INSTANCE),
        engines=records(instances, ENGINE),
        pools=records(pools, POOL),
        groups=records(3, GROUP),
        costs=records(pools, COSTS),
        queues=records((instances, queue), ENTRY),
        job_queues=records((instances, queue), ENTRY),
        decodes=records((instances, sequences), ENTRY),
        slots=records((instances, sequences), SLOT),
        jobs=records(jobs, JOB),
        transfers=records(max(queue, 4 * leaves), ENTRY),
        orders=records(4 * leaves, ORDER),
        matches=records(2 * leaves, MATCH),
        arrivals=records(len(requests), ARRIVAL),
        cached=records(0, CACHED),
        draws=records(0, DRAW),
        tbt=records((len(CLASSES), BUCKETS), TOKENS),
        bounds=records(0, INSTANCE),
        leaders=records(0, LEADER),
        features=records((3, MOST_FEATURES), FEATURE),
        changes=records((3, instances), CHANGED),
        ready=records((3, instances), MEMBER),
        log=records(0, LOG),
        samples=records((0, instances), INSTANCE),
        clock=records(1, CLOCK),
    )
    state.groups.role = ENCODE_ROUTING, ROUTING, DECODE_ROUTING
    state.engines.successor = state.engines.sibling = -1
    state.engines.slow = state.engines.pace = state.engines.link = 1.0
    state.engines.released_s = np.nan
    state.groups.lead = state.groups.parked_first = state.groups.parked_last = -1
    state.progress.next_parked = -1
    state.clock[0].most_images = requests.images.max() if len(requests) else 0
    state.jobs.free = np.arange(jobs)[::-1]
    state.clock[0].free_jobs = jobs
    state.matches.key, state.matches.winner = np.inf, -1
    state.matches.winner[leaves : leaves + instances] = np.arange(instances)
    state.matches.winner[1] = 0  # all idle: every match is a tie, which the lower index wins
    for node in range(leaves - 1, 0, -1):
        state.matches.winner[node] = state.matches.winner[2 * node]
    return state
