"""What a policy may know: two records, filled alike by the simulator and by the vLLM adapter.

Only facts that a real server has: estimates of the output length, never the true one. Seconds are on the
clock of the run, tokens and tiles are counts. Symbols in brackets are those of the policy catalogue.
"""

from __future__ import annotations

import numpy as np

ENCODE, PREFILL, DECODE = 1, 2, 4
"""Stage bits of an instance; a monolith has all three."""

TEXT, IMAGE, VIDEO = 0, 1, 2
"""Modality of a request."""

KINDS = {
    "E": ENCODE,
    "P": PREFILL,
    "D": DECODE,
    "EP": ENCODE | PREFILL,
    "ED": ENCODE | DECODE,
    "PD": PREFILL | DECODE,
    "EPD": ENCODE | PREFILL | DECODE,
}
"""Kinds of instances by the letters of their stages: Encode, Prefill, Decode."""


def kind_of(stages: int) -> str:
    """The letters of stage bits."""
    return next(letters for letters, bits in KINDS.items() if bits == stages)


OUTPUT_ESTIMATE_TOKENS = {TEXT: 209, IMAGE: 165}
"""What a server expects before it has seen any output: mean generated tokens by class of the Azure LMM trace (2024)."""

HEAVY_IMAGES = 10
"""Images from which a request is image-heavy."""

NOT_QUEUED = -1.0
"""`queued_s` of a request that waits in no queue."""

REQUEST = np.dtype(
    [
        ("arrival_s", "f8"),  # [a_r]
        ("deadline_s", "f8"),  # [d_r] arrival plus the TTFT objective of the request's class
        ("encode_estimate_s", "f8"),  # [e_r] predicted encode seconds still to do, on the critical path
        ("transfer_estimate_s", "f8"),  # [u_r] predicted seconds of moving the embeddings, 0 when colocated
        ("prefill_estimate_s", "f8"),  # [p_r] predicted prefill seconds still to do
        ("estimate_sigma", "f8"),  # log-normal spread of the estimates, 0 = taken as exact
        ("draw", "f8"),  # uniform in [0, 1), new for every routing decision, from the stream "routing"
        ("queued_s", "f8"),  # when it joined the queue that it waits in; negative while it is being routed
        ("sequence", "i8"),  # routing decisions taken in this pool before this one
        ("id", "i4"),  # position in the trace
        ("modality", "i4"),  # TEXT, IMAGE or VIDEO
        ("images", "i4"),  # images of the request
        ("images_left", "i4"),  # images not yet encoded
        ("tokens_per_image", "i4"),  # [v_i]
        ("tiles_per_image", "i4"),  # [q_i] tiles that the encoder computes, padding included
        ("image_tokens", "i4"),  # tokens of all images
        ("text_tokens", "i4"),  # [x_r] prompt tokens that are text
        ("prompt_tokens", "i4"),  # tokens in the LLM's sequence: text, and images too if decoder-only
        ("prompt_tokens_left", "i4"),  # of these, not yet computed
        ("output_estimate_tokens", "i4"),  # expected output tokens
        ("job_images", "i4"),  # images of the encode job in question (0: the request itself)
        ("job_image_tokens", "i4"),  # its image tokens
        ("job_tiles", "i4"),  # its padded tiles
    ],
    align=True,
)
"""Features of a request. An encode job is the part of a request's images that is routed and run as one."""

INSTANCE = np.dtype(
    [
        ("backlog_s", "f8"),  # [b_j] predicted seconds of the encode and prefill work waiting, running step excluded
        ("busy_since_s", "f8"),  # start of the running step if it encodes or prefills
        ("busy_until_s", "f8"),  # its predicted end; a time in the past when nothing but decodes runs
        ("encode_s_per_tile", "f8"),  # [c_j] seconds to encode a tile here
        ("prefill_s_per_token", "f8"),  # seconds to prefill a token here
        ("tightest_ttft_s", "f8"),  # [D_min] the tightest TTFT objective of any class
        ("pending_image_tokens", "i8"),  # [V_j] image tokens assigned here, encode (or prefill) not finished
        ("pending_text_tokens", "i8"),  # [X_j] text tokens assigned here, prefill not finished
        ("pending_prompt_tokens", "i8"),  # prompt tokens assigned here, not yet computed
        ("pending_tiles", "i8"),  # [Q_j] padded tiles assigned here, not yet encoded
        ("in_service_image_tokens", "i8"),  # of the pending ones, those in the running step
        ("in_service_prompt_tokens", "i8"),
        ("in_service_tiles", "i8"),
        ("kv_used_tokens", "i8"),  # at the last change of the batch
        ("kv_capacity_tokens", "i8"),
        ("cached_image_tokens", "i8"),  # while routed: image tokens of this job whose embeddings are kept here
        ("cached_prefix_tokens", "i8"),  # while routed: prompt tokens of this request whose KV is kept here
        ("steps", "i8"),  # iterations completed; for others than the instance itself it may lag while only decodes run
        ("assigned", "i8"),  # jobs or requests ever routed here
        ("encoder_budget_left", "i8"),  # image tokens that the step being composed may still encode
        ("token_budget_left", "i8"),  # tokens that the step being composed may still take
        ("index", "i4"),  # position among the instances of its pool that take work, from 0; -1 if it takes none
        ("pool_size", "i4"),  # of those
        ("stages", "i4"),  # bits ENCODE, PREFILL, DECODE
        ("tensor_parallel", "i4"),
        ("waiting", "i4"),  # requests (or encode jobs) routed here and not yet begun
        ("running", "i4"),  # requests (or encode jobs) begun and not finished
        ("pending_images", "i4"),  # images assigned here, not yet encoded
    ],
    align=True,
)
"""Features of an instance, seen by routers and by its own batching and chunking policies. [n_j] = waiting + running."""

PENDING = (
    "pending_images",
    "pending_image_tokens",
    "pending_tiles",
    "pending_text_tokens",
    "pending_prompt_tokens",
    "backlog_s",
)
"""Features of an instance that are summed over its requests: what is still to do."""
