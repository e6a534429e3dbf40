"""FLOPs and bytes that one GPU of a tensor-parallel instance does and moves, counted from a model's dimensions.

A multiply-add is 2 FLOPs. Heads that do not divide by the tensor-parallel degree are padded (dummy heads, as vLLM does
for NVLM-D); KV heads fewer than GPUs are replicated.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

from slackwise.latency.model import BYTES, Language, Model, Vision
from slackwise.latency.rates import Value


@dataclass(frozen=True)
class LanguageWork:
    """Work of the LLM on one GPU. `layers` counts self- and cross-attention layers."""

    layers: Value
    flops_per_token: Value  # linear layers
    weight_bytes: Value  # of the layers, read once a step
    activation_bytes_per_token: Value  # read and written by the layers
    head_bytes: Value  # of the output table, read once a step
    flops_per_pair: Value  # attention of one new token on one context token
    kv_bytes_per_token: Value  # read in decode, and held in memory
    reduced_bytes_per_token: Value  # of all all-reduces of a step, see `all_reduced`
    reduces: Value  # all-reduces of a step
    message_bytes_per_token: Value  # size of one all-reduce
    ring_steps: Value  # of all all-reduces of a step, were each a ring
    peers: Value  # GPUs of the instance besides this one


def language_work(language: Language, tensor_parallel: int) -> LanguageWork:
    """Work of `language` on each of `tensor_parallel` GPUs."""
    layers = language.layers + language.cross_layers
    heads = sharded(language.heads, tensor_parallel)
    kv_heads = max(1.0, language.kv_heads / tensor_parallel)
    kv_params = 2 * language.hidden * language.head_dim * kv_heads
    query_params = 2 * language.hidden * language.head_dim * heads
    params = layers * (query_params + kv_params + language.mlp_params / tensor_parallel)
    # inputs and outputs of every kernel: residual stream and norms whole, the rest sharded
    values = 12 * language.hidden + 6 * language.head_dim * (heads + kv_heads)
    values += 2 * language.mlp_matrices * language.mlp / tensor_parallel
    return LanguageWork(
        layers=layers,
        flops_per_token=2 * (params - language.cross_layers * kv_params),
        weight_bytes=BYTES * params,
        activation_bytes_per_token=BYTES * layers * values,
        head_bytes=BYTES * language.head_params / tensor_parallel,
        flops_per_pair=4 * heads * language.head_dim * language.layers,
        kv_bytes_per_token=2 * BYTES * kv_heads * language.head_dim * language.layers,
        reduced_bytes_per_token=2 * layers * all_reduced(BYTES * language.hidden, tensor_parallel),
        reduces=2 * layers if tensor_parallel > 1 else 0,
        message_bytes_per_token=BYTES * language.hidden,
        ring_steps=2 * layers * ring_steps(tensor_parallel),
        peers=tensor_parallel - 1,
    )


@dataclass(frozen=True)
class VisionWork:
    """Work of the encoder on one GPU, for one tile (one image at native resolution)."""

    layers: Value
    linear_flops: Value
    attention_flops: Value
    weight_bytes: Value  # read once a step, whatever the number of tiles
    activation_bytes: Value  # read and written by the layers
    reduced_bytes: Value  # of all all-reduces, see `all_reduced`
    reduces: Value  # all-reduces of a step
    message_bytes: Value  # size of one all-reduce
    ring_steps: Value  # of all all-reduces of a step, were each a ring
    peers: Value  # GPUs of the instance besides this one


def vision_work(vision: Vision, sequence: int, connector_params: int, tensor_parallel: int) -> VisionWork:
    """Work of `vision` for a tile of `sequence` tokens on each of `tensor_parallel` GPUs, the connector included.

    Attention kernels pad heads to a multiple of 16 values (72 to 80 in SigLIP).
    """
    share = sharded(vision.heads, tensor_parallel) / vision.heads if vision.attention_sharded else 1.0
    layer_params = vision.attention_params * share + vision.mlp_params / tensor_parallel
    tokens_out = sequence / vision.merge**2 if vision.tiling == "native" else vision.tile_tokens
    values = vision.hidden * (12 + 12 * share) + 2 * vision.mlp_matrices * vision.mlp / tensor_parallel
    head_dim = vision.hidden / vision.heads
    padding = 16 * ceil(head_dim / 16) / head_dim
    reduces = vision.layers * (2 if vision.attention_sharded else 1) if tensor_parallel > 1 else 0
    return VisionWork(
        layers=vision.layers,
        linear_flops=2 * (vision.layers * layer_params * sequence + connector_params * tokens_out / tensor_parallel),
        attention_flops=4 * vision.hidden * share * padding * sequence * _attended(vision, sequence),
        weight_bytes=BYTES * (vision.layers * layer_params + connector_params / tensor_parallel),
        activation_bytes=BYTES * vision.layers * values * sequence,
        reduced_bytes=reduces * all_reduced(BYTES * vision.hidden * sequence, tensor_parallel),
        reduces=reduces,
        message_bytes=BYTES * vision.hidden * sequence,
        ring_steps=reduces * ring_steps(tensor_parallel),
        peers=tensor_parallel - 1,
    )


def instance_bytes(model: Model, tensor_parallel: int, encode: bool = True, llm: bool = True) -> float:
    """Bytes of weights on each of `tensor_parallel` GPUs that hold the encoder, the LLM with its connector, or both."""
    total = 0.0
    if encode:
        total += _encoder_bytes(model.vision, tensor_parallel)
    if llm:
        work = language_work(model.language, tensor_parallel)
        total += float(work.weight_bytes + 2 * work.head_bytes) + BYTES * model.connector_params / tensor_parallel
    return total


def _encoder_bytes(vision: Vision, tensor_parallel: int) -> float:
    if vision.attention_sharded:
        return BYTES * vision.params / tensor_parallel
    whole = vision.layers * vision.attention_params
    return BYTES * (whole + (vision.params - whole) / tensor_parallel)


def tile_sequence(vision: Vision, patches: int) -> int:
    """Tokens that the encoder computes for a tile; at native resolution the `patches` of the image."""
    return patches if vision.tiling == "native" else vision.tile_sequence


def sharded(heads: int, tensor_parallel: int) -> int:
    """Heads on one GPU, padded up to a whole number."""
    return ceil(heads / tensor_parallel)


def all_reduced(size: float, tensor_parallel: int) -> float:
    """Bytes charged for an all-reduce of `size` bytes: sqrt(2 (n - 1) / n) of them, 0 on a single GPU.

    Between a ring, 2 (n - 1) / n, and a switch that sums, 1: measured all-reduces on 8 GPUs take 1.2 to 1.5 times
    those on 2, where a ring would take 1.75 times.
    """
    return sqrt(2 * (tensor_parallel - 1) / tensor_parallel) * size


def ring_steps(tensor_parallel: int) -> int:
    """Steps of one all-reduce in a ring of `tensor_parallel` GPUs: 2 (n - 1), to sum the parts and to spread them."""
    return 2 * (tensor_parallel - 1)


def _attended(vision: Vision, sequence: int) -> int:
    """Sum over the layers of the tokens that each token attends to."""
    scope = sequence * vision.joint_tiles
    if not vision.window_tokens:
        return vision.layers * scope
    return vision.full_layers * scope + (vision.layers - vision.full_layers) * min(vision.window_tokens, scope)
