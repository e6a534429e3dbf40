"""Layers of real shapes with random weights, in PyTorch: what measure_torch.py times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slackwise.latency.model import Language, Vision

Cache = tuple[Any, Any]
"""Keys and values, each (batch, kv_heads, context, head_dim)."""


@dataclass(frozen=True)
class Part:
    """Equal sequences of a step: how many, the new tokens of each, and what these attend to."""

    sequences: int
    tokens: int
    caches: Sequence[Cache] | None = None  # one a layer; None: the tokens attend to themselves
    causal: bool = True


@dataclass(frozen=True)
class Shape:
    """The dimensions of a transformer layer."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    gated: bool
    cross: bool = False  # attends to a given cache alone: no keys and values of its own tokens


def language_shape(language: Language, cross: bool = False) -> Shape:
    """A decoder layer of `language`; `cross`: one of its cross-attention layers."""
    gated = language.mlp_matrices == 3
    heads = (language.heads, language.kv_heads, language.head_dim)
    return Shape(language.hidden, *heads, language.mlp, gated, cross)


def vision_shape(vision: Vision) -> Shape:
    """A layer of the encoder `vision`."""
    head_dim = vision.hidden // vision.heads
    return Shape(vision.hidden, vision.heads, vision.heads, head_dim, vision.mlp, vision.mlp_matrices == 3)


class Block:
    """One transformer layer in bf16: norm, attention, norm, MLP; biases and rotary embedding left out."""

    def __init__(self, torch: Any, device: str, shape: Shape) -> None:
        self.torch, self.functional, self.shape = torch, torch.nn.functional, shape
        self.norm = torch.ones(shape.hidden, device=device, dtype=torch.bfloat16)
        own = 0 if shape.cross else 2 * shape.kv_heads
        self.query_key_value = weight(torch, device, shape.hidden, (shape.heads + own) * shape.head_dim)
        self.out = weight(torch, device, shape.heads * shape.head_dim, shape.hidden)
        self.up = weight(torch, device, shape.hidden, shape.mlp * (2 if shape.gated else 1))
        self.down = weight(torch, device, shape.mlp, shape.hidden)

    def __call__(self, x: Any, parts: Sequence[Part], at: int) -> Any:
        """x: (tokens of all parts, hidden); linear layers see all, attention each part alone. `at`: place of the layer.

        A part with caches attends to the one at `at` alone.
        """
        x = x + self._attended(self._normed(x), parts, at) @ self.out
        return x + self._inner(self._normed(x) @ self.up) @ self.down

    def _attended(self, x: Any, parts: Sequence[Part], at: int) -> Any:
        pieces = (x @ self.query_key_value).split([part.sequences * part.tokens for part in parts])
        attended = [self._attention(piece, part, at) for piece, part in zip(pieces, parts, strict=True)]
        return attended[0] if len(attended) == 1 else self.torch.cat(attended)

    def _attention(self, x: Any, part: Part, at: int) -> Any:
        """(tokens, values of all heads) of one part, from its queries, keys and values."""
        shape, sizes = self.shape, (part.sequences, part.tokens)
        heads = [shape.heads] if shape.cross else [shape.heads, shape.kv_heads, shape.kv_heads]
        several = x.split([each * shape.head_dim for each in heads], dim=-1)
        query, *own = (one.view(*sizes, each, -1).transpose(1, 2) for one, each in zip(several, heads, strict=True))
        key, value = part.caches[at] if part.caches is not None else own
        if part.tokens == 1:  # heads that share keys become rows of one query: every kernel then reads keys once
            query = query.reshape(part.sequences, shape.kv_heads, -1, shape.head_dim)
        grouped = query.shape[1] != key.shape[1]
        attended = self.functional.scaled_dot_product_attention(
            query, key, value, is_causal=part.causal and part.caches is None, enable_gqa=grouped
        )
        if part.tokens == 1:
            attended = attended.reshape(part.sequences, shape.heads, 1, shape.head_dim)
        return attended.transpose(1, 2).reshape(part.sequences * part.tokens, -1)

    def _inner(self, x: Any) -> Any:
        if not self.shape.gated:
            return self.functional.gelu(x)
        gate, inner = x.chunk(2, dim=-1)
        return self.functional.silu(gate) * inner

    def _normed(self, x: Any) -> Any:
        return self.functional.rms_norm(x, (self.shape.hidden,), self.norm)


def weight(torch: Any, device: str, rows: int, columns: int) -> Any:
    """A random matrix that keeps the size of what it multiplies."""
    return torch.randn(rows, columns, device=device, dtype=torch.bfloat16) / rows**0.5


def blocks(torch: Any, device: str, shape: Shape, layers: int) -> list[Block]:
    """`layers` layers, each with its own weights: no layer finds its weights in the GPU's cache."""
    return [Block(torch, device, shape) for _ in range(layers)]


def caches(torch: Any, device: str, shape: Shape, layers: int, batch: int, context: int) -> list[Cache]:
    """A cache for each layer."""
    size = (batch, shape.kv_heads, context, shape.head_dim)

    def values() -> Any:
        return torch.randn(size, device=device, dtype=torch.bfloat16)

    return [(values(), values()) for _ in range(layers)]


def stacked(layers: Sequence[Block], x: Any, parts: Sequence[Part]) -> Callable[[], Any]:
    """A function that runs `x` (tokens of all `parts`, hidden) through all layers."""

    def work() -> Any:
        y = x
        for at, layer in enumerate(layers):
            y = layer(y, parts, at)
        return y

    return work
