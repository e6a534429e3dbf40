"""The terms of the roofline, in seconds of one step on one GPU; arrays broadcast.

    layers    = soft(FLOPs / rate, weight bytes / rate) + activation bytes / rate
    soft(c, m) = (c^p + m^p)^(1/p)

A soft maximum, since kernels near the ridge reach neither peak; a hard one is 10 % off in prefill of 64 to 512 tokens.
"""

from __future__ import annotations

import numpy as np

from slackwise.latency.rates import Rates, Value
from slackwise.latency.work import LanguageWork, VisionWork

HEAD_ROWS = 256
"""Tokens of a step whose logits are computed, at most: every decode, one a prompt. Beyond, a step is mostly prefill."""


def soft_maximum(compute_s: Value, memory_s: Value, exponent: Value) -> Value:
    """(compute^p + memory^p)^(1/p), elementwise."""
    return (compute_s**exponent + memory_s**exponent) ** (1 / exponent)


def layers_seconds(work: LanguageWork, rates: Rates, tokens: Value) -> Value:
    """Linear layers, norms and activations of the LLM for `tokens` >= 1 tokens; all-reduces and output table apart."""
    compute_s = work.flops_per_token * tokens / rates.flops_s
    memory_s = work.weight_bytes / rates.weight_bytes_s
    traffic_s = work.activation_bytes_per_token * tokens / rates.weight_bytes_s
    return soft_maximum(compute_s, memory_s, rates.overlap) + traffic_s


def head_seconds(work: LanguageWork, rates: Rates, tokens: Value) -> Value:
    """The output table, for at most HEAD_ROWS of `tokens` tokens; a bf16 weight is 2 bytes and 2 FLOPs a row."""
    compute_s = work.head_bytes * np.minimum(tokens, HEAD_ROWS) / rates.flops_s
    return soft_maximum(compute_s, work.head_bytes / rates.weight_bytes_s, rates.overlap)


def reduce_seconds(work: LanguageWork, rates: Rates, tokens: Value) -> Value:
    """The all-reduces of all layers, their start apart.

    bytes / rate, beyond `slow_reduce_tokens` at a slower rate as well; large ones pay the steps of a ring.
    """
    seconds = work.reduced_bytes_per_token * tokens / rates.reduce_bytes_s
    slow_tokens = np.maximum(tokens - rates.slow_reduce_tokens, 0.0)
    seconds = seconds + work.reduced_bytes_per_token * slow_tokens / rates.slow_reduce_bytes_s
    return seconds + ring_seconds(work.ring_steps, work.message_bytes_per_token * tokens, rates)


def ring_seconds(steps: Value, message_bytes: Value, rates: Rates) -> Value:
    """Latency of `steps` steps of rings, if all-reduces of `message_bytes` are large enough to run as rings.

    vLLM's own all-reduce takes messages below 8 MiB (custom_all_reduce.py, 2023 to 2025); larger ones go to NCCL, whose
    latency grows with the GPUs: measured steps of two models on 2, 4 and 8 A100s jump at that size.
    """
    return np.where(message_bytes >= rates.ring_bytes, steps * rates.ring_step_s, 0.0)


def table_seconds(work: LanguageWork, rates: Rates, tokens: Value) -> Value:
    """All that grows with the tokens of a step, attention apart: layers, all-reduced data, output table."""
    return layers_seconds(work, rates, tokens) + reduce_seconds(work, rates, tokens) + head_seconds(work, rates, tokens)


def fixed_seconds(work: LanguageWork | VisionWork, rates: Rates) -> Value:
    """Overheads of a step: of every layer, more with every further GPU, and the latency of every all-reduce."""
    layer_s = rates.layer_s * (1 + rates.peer_share * work.peers)
    return work.layers * layer_s + work.reduces * rates.all_reduce_s


def encode_seconds(work: VisionWork, rates: Rates, tiles: Value) -> Value:
    """A step that encodes `tiles` tiles. No constant of its own: rates and overheads are those of the LLM."""
    compute_s = work.linear_flops * tiles / rates.flops_s
    memory_s = work.weight_bytes / rates.weight_bytes_s
    per_tile_s = work.attention_flops / rates.attention_flops_s + work.activation_bytes / rates.weight_bytes_s
    per_tile_s = per_tile_s + work.reduced_bytes / rates.reduce_bytes_s
    fixed_s = fixed_seconds(work, rates)
    fixed_s = fixed_s + ring_seconds(work.ring_steps, work.message_bytes * tiles, rates)
    return fixed_s + soft_maximum(compute_s, memory_s, rates.overlap) + per_tile_s * tiles
