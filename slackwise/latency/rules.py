"""The rules of an engine's scheduler, by generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from slackwise.errors import unknown
from slackwise.latency.images import largest_image_tokens
from slackwise.latency.model import Model

UNLIMITED = 1 << 30


@dataclass(frozen=True)
class EngineRules:
    """Limits and order of an engine's iterations; every number is the engine's own default on an 80 GB A100."""

    name: str
    max_sequences: int  # requests that run at a time (max_num_seqs)
    max_step_tokens: int  # tokens of a step (max_num_batched_tokens)
    encoder_budget_tokens: int  # image tokens encoded in a step; never less than the model's largest image
    encoder_cache_tokens: int = UNLIMITED  # embeddings kept until prefill has used them; as for the budget
    max_chunk_tokens: int = UNLIMITED  # prompt tokens of one request in a step (long_prefill_token_threshold)
    max_step_jobs: int = UNLIMITED  # encode jobs in a step of a separate encoder
    prefill_first: bool = False  # whole prompts before any decode, nothing mixed
    watermark: float = 0.0  # share of the KV cache that admission leaves free
    source: str = ""

    def encoder_tokens(self, model: Model) -> int:
        """Image tokens that a step may encode: the engine's budget, or the model's largest image."""
        return max(self.encoder_budget_tokens, largest_image_tokens(model))

    def encoder_cache(self, model: Model) -> int:
        """Tokens of the encoder cache; cross-attention models, which need all images at once, are not held to it."""
        return UNLIMITED if model.cross_attention else max(self.encoder_cache_tokens, largest_image_tokens(model))


V0 = EngineRules(
    name="vllm-0.7",
    max_sequences=256,
    max_step_tokens=131072,
    encoder_budget_tokens=UNLIMITED,
    prefill_first=True,
    watermark=0.01,
    source="vLLM 0.7.2 V0 scheduler, 2025, as multimodal models run on it: prefill first, whole prompts with all "
    "their images, no mixed batches; token budget = the longest context of the model",
)
"""The V0 scheduler, alone and with what the host adds to its steps (engines.toml)."""

RULES: Mapping[str, EngineRules] = {
    "vllm": EngineRules(
        name="vllm",
        max_sequences=256,
        max_step_tokens=2048,
        encoder_budget_tokens=2048,
        encoder_cache_tokens=2048,
        source="vLLM 0.33 V1 scheduler, 2026: decodes, running prefills, then waiting requests share one token budget; "
        "an image is atomic under an encoder budget; the server's defaults on an A100",
    ),
    V0.name: V0,
    "vllm-0.7-host": replace(V0, name="vllm-0.7-host"),
    "transformers": EngineRules(
        name="transformers",
        max_sequences=256,
        max_step_tokens=UNLIMITED,
        encoder_budget_tokens=UNLIMITED,
        max_step_jobs=1,
        source="ModServe 2025, 4: image instances run Hugging Face Transformers, one job at a time (encoding does not "
        "gain from batching)",
    ),
}
"""Engine generations by name."""


def load_rules(name: str) -> EngineRules:
    """The rules of an engine generation; InputError naming the closest one if there is none of that name."""
    if name not in RULES:
        raise unknown("engine", name, RULES)
    return RULES[name]
