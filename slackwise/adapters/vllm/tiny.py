"""A tiny LLaVA on disk: configuration, tokenizer and processor, no weights. For engines that compute nothing much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXT = [
    "hello world the quick brown fox jumps over the lazy dog",
    "describe the image please",
    "user assistant system what is in this picture",
    "0123456789 abcdefghijklmnopqrstuvwxyz",
]
"""What the tokenizer is trained on."""

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] in ('image','image_url') %}<image>\n"
    "{% elif c['type']=='text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

PATCH = 14

ENGINE: dict[str, bool | int | str] = {
    "load_format": "dummy",
    "dtype": "float32",
    "seed": 0,
    "enforce_eager": True,
    "enable_prefix_caching": False,
    "max_model_len": 2048,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 512,
    "kv_cache_memory_bytes": 2**26,
}
"""Arguments, by vLLM's names, of an engine that serves it on a CPU."""


def tiny_model(path: Path, image_side: int = 112, longest: int = 4096, layers: int = 2, hidden: int = 128) -> Path:
    """Write a LLaVA-1.5 of (image_side / 14)^2 tokens an image and contexts of up to `longest` tokens; its folder.

    `hidden` is the width of 4 heads, whose size vLLM on a CPU wants to be 32, 64, 80, 96, 112 or 128. Load it with
    `load_format="dummy"`.
    """
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(path, longest)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    side = {"height": image_side, "width": image_side}
    documents: dict[str, dict[str, Any]] = {
        "config": _config(tokenizer, image_side, longest, layers, hidden) | ends,
        "generation_config": ends,
        "preprocessor_config": _preprocessor(side, image_side),
        "processor_config": {
            "processor_class": "LlavaProcessor",
            "image_token": "<image>",
            "patch_size": PATCH,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
    }
    for name, document in documents.items():
        (path / f"{name}.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


def _tokenizer(path: Path, longest: int) -> Any:
    """A byte-level BPE tokenizer of about 400 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    made.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<image>"],
    )
    fast.chat_template, fast.model_max_length = TEMPLATE, longest
    fast.save_pretrained(path)
    return fast


def _config(tokenizer: Any, image_side: int, longest: int, layers: int, hidden: int) -> dict[str, Any]:
    text = {
        "model_type": "llama",
        "vocab_size": len(tokenizer) + 8,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": longest,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_hidden_layers": layers + 1,
        "image_size": image_side,
        "patch_size": PATCH,
        "projection_dim": 64,
    }
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "projector_hidden_act": "gelu",
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "text_config": text,
        "vision_config": vision,
    }


def _preprocessor(side: dict[str, int], shortest: int) -> dict[str, Any]:
    return {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "rescale_factor": 1 / 255,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": side,
        "size": {"shortest_edge": shortest},
    }
