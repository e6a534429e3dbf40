"""Multimodal models: the dimensions that decide what they cost, from models.toml, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from slackwise.latency.catalogue import catalogue, record, resolve

BYTES = 2  # of a bf16 value


@dataclass(frozen=True)
class Language:
    """A decoder-only transformer with grouped-query attention and, if `cross_layers`, cross-attention to images."""

    layers: int  # with self-attention
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    cross_layers: int = 0  # layers with cross-attention instead of self-attention (Llama 3.2 Vision)
    mlp_matrices: int = 3  # 3 gated, 2 plain

    @property
    def query_params(self) -> int:
        """Query and output projections of one layer."""
        return 2 * self.hidden * self.heads * self.head_dim

    @property
    def kv_params(self) -> int:
        """Key and value projections of one layer."""
        return 2 * self.hidden * self.kv_heads * self.head_dim

    @property
    def mlp_params(self) -> int:
        return self.mlp_matrices * self.hidden * self.mlp

    @property
    def block_params(self) -> int:
        """Weights of all decoder layers."""
        layers = self.layers + self.cross_layers
        return layers * (self.query_params + self.kv_params + self.mlp_params)

    @property
    def head_params(self) -> int:
        """The output table."""
        return self.vocab * self.hidden

    @property
    def params(self) -> int:
        """Decoder layers with untied input and output tables; norms and biases left out."""
        return self.block_params + 2 * self.head_params

    @property
    def kv_bytes_per_token(self) -> int:
        """KV cache of a text token: self-attention layers only."""
        return self.layers * 2 * self.kv_heads * self.head_dim * BYTES

    @property
    def token_flops(self) -> int:
        """Linear-layer FLOPs of a text token; cross-attention layers compute K and V for image tokens only."""
        return 2 * (self.block_params - self.cross_layers * self.kv_params)

    @property
    def text_only_share(self) -> float:
        """Share of the linear layers that runs when no request of the step has an image: cross-attention is skipped."""
        return self.layers / (self.layers + self.cross_layers)


@dataclass(frozen=True)
class Vision:
    """A vision transformer, and the rule that turns an image into tiles and tokens (see images.py)."""

    layers: int
    hidden: int
    heads: int
    mlp: int
    patch_px: int
    tiling: str  # slots | anyres | dynamic | native
    output_values: int  # values per token that leave the encoder for the LLM's instance
    mlp_matrices: int = 2
    tile_px: int = 0  # side of a tile; 0 for native resolution
    tile_sequence: int = 0  # tokens that the encoder computes for a tile, padding included
    tile_tokens: int = 0  # tokens that a tile gives to the LLM
    max_tiles: int = 1
    joint_tiles: int = 1  # tiles that attend to each other as one sequence
    merge: int = 1  # native: patches merged into one token, a side
    min_pixels: int = 0  # native: smaller images are enlarged
    max_pixels: int = 0  # native: larger images are shrunk
    window_tokens: int = 0  # attention windows, 0 = full attention
    full_layers: int = 0  # of `layers`, those with full attention, when the others have windows
    attention_sharded: bool = True  # False: every tensor-parallel rank computes the whole attention
    extra_params: int = 0  # tables counted with the checkpoint (position table)

    @property
    def attention_params(self) -> int:
        """Attention projections of one layer."""
        return 4 * self.hidden**2

    @property
    def mlp_params(self) -> int:
        return self.mlp_matrices * self.hidden * self.mlp

    @property
    def params(self) -> int:
        """All layers and the patch embedding; norms and biases left out."""
        embedding = 3 * self.patch_px**2 * self.hidden
        return self.layers * (self.attention_params + self.mlp_params) + embedding + self.extra_params


@dataclass(frozen=True)
class Model:
    """A multimodal model: encoder, connector, LLM. Sizes in bf16."""

    name: str
    vision: Vision
    language: Language
    connector_params: int
    source: str

    @property
    def cross_attention(self) -> bool:
        """Whether image tokens stay out of the LLM's sequence and are read by cross-attention layers instead."""
        return self.language.cross_layers > 0

    @property
    def encoder_bytes(self) -> int:
        """Weights of the vision encoder."""
        return BYTES * self.vision.params

    @property
    def llm_bytes(self) -> int:
        """Weights of the LLM and of the connector, which lives with it (ModServe, 2025)."""
        return BYTES * (self.language.params + self.connector_params)

    @property
    def kv_tokens_per_image_token(self) -> float:
        """KV cache of one image token, in units of a text token's: 1 if decoder-only, 0.25 for Llama 3.2 Vision."""
        return self.language.cross_layers / self.language.layers if self.cross_attention else 1.0

    def prefill_tokens_per_image(self, image_tokens: int) -> float:
        """Prefill work that an image of `image_tokens` adds outside the sequence, in text tokens' linear-layer work.

        Cross-attention models project keys and values of image tokens in their cross-attention layers (about 50
        text tokens for 896 x 896 pixels in Llama 3.2 11B); 0 for decoder-only, whose images are in the sequence.
        """
        per_token = 2 * self.language.cross_layers * self.language.kv_params
        return image_tokens * per_token / self.language.token_flops


def models() -> list[str]:
    """Names of the known models."""
    return list(catalogue("models.toml"))


@cache
def load_model(name: str) -> Model:
    """The model called `name` (an unambiguous beginning will do). Raises InputError with the closest known name."""
    known = resolve("model", name, models())
    table = dict(catalogue("models.toml")[known])
    vision = record(Vision, table.pop("vision"), f"models.toml {known}.vision")
    language = record(Language, table.pop("language"), f"models.toml {known}.language")
    return record(Model, {"name": known, "vision": vision, "language": language, **table}, f"models.toml {known}")
