"""Models: totals, memory, and the rules from pixels to tiles to tokens."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.latency.images import image_tiles, image_tokens, largest_image_tokens
from slackwise.latency.model import load_model, models
from slackwise.latency.roofline import model_vision_work

SHARED = Path(os.environ.get("SLACKWISE_SHARED", Path(__file__).parents[3] / "shared"))
sides = st.integers(1, 5000)


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    path = SHARED / "research" / "models.json"
    if not path.exists():
        pytest.skip("the reference dimensions (shared/research/models.json) are absent")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["models"]
    return document


@pytest.mark.parametrize("name", models())
def test_weights_and_kv_agree_with_the_reference_dimensions(name: str, reference: dict[str, Any]) -> None:
    model, expected = load_model(name), reference[name]
    assert model.encoder_bytes == expected["weight_bytes_bf16"]["vision"]
    assert model.llm_bytes == pytest.approx(expected["weight_bytes_bf16"]["llm"], rel=1e-5)  # 8 embedding rows apart
    kv_bytes = expected.get("kv_bytes_per_token_bf16") or expected["kv_bytes_per_text_token_bf16"]
    assert model.language.kv_bytes_per_token == kv_bytes


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Llama-3.2-11B-Vision", 10.6),
        ("Llama-3.2-90B-Vision", 88.8),
        ("InternVL2.5-26B", 25.5),
        ("Qwen2.5-VL-7B", 8.29),
    ],
)
def test_parameters_reproduce_the_published_totals(name: str, billions: float) -> None:
    model = load_model(name)
    assert (model.encoder_bytes + model.llm_bytes) / 2e9 == pytest.approx(billions, rel=4e-3)


@pytest.mark.parametrize(
    ("name", "tiles", "tokens"),
    [
        ("Llama-3.2-11B-Vision", 4, 6404),
        ("LLaVA-OneVision-7B", 10, 7371),
        ("InternVL2.5-26B", 5, 1280),
        ("NVLM-D-72B", 5, 1280),
        ("Qwen2.5-VL-7B", 1, 1024),
        ("Qwen3-VL-8B", 1, 784),
    ],
)
def test_the_example_image_of_modserve_table_1(name: str, tiles: int, tokens: int) -> None:
    model = load_model(name)
    assert (image_tiles(model, 896, 896), image_tokens(model, 896, 896)) == (tiles, tokens)


def test_llama_computes_four_slots_for_a_small_image_but_reads_the_tokens_of_one() -> None:
    model = load_model("Llama-3.2-11B-Vision")
    assert image_tiles(model, 100, 100) == 4
    assert image_tokens(model, 100, 100) == 1601


def test_several_llava_images_are_one_tile_each() -> None:
    model = load_model("LLaVA-OneVision-7B")
    assert (image_tiles(model, 896, 896, images=3), image_tokens(model, 896, 896, images=3)) == (1, 729)


@pytest.mark.parametrize(
    ("width", "height", "tiles"), [(448, 448, 1), (1792, 448, 5), (448, 1792, 5), (4000, 3000, 13)]
)
def test_internvl_tiles_follow_the_aspect_ratio(width: int, height: int, tiles: int) -> None:
    assert image_tiles(load_model("InternVL2.5-26B"), width, height) == tiles


@pytest.mark.parametrize("name", models())
@given(width=sides, height=sides)
def test_every_image_has_tiles_and_tokens_within_the_models_limits(name: str, width: int, height: int) -> None:
    model = load_model(name)
    tiles, tokens = image_tiles(model, width, height), image_tokens(model, width, height)
    assert 1 <= tiles <= {"slots": 4, "anyres": 37, "dynamic": 13, "native": 1}[model.vision.tiling]
    assert 1 <= tokens <= 17_000


@pytest.mark.parametrize("size", [(0, 10), (10, -1)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="must be at least 1"):
        image_tiles(load_model("Qwen3-VL-8B"), *size)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("Llama-3.2-11B-Vision", 4 * 1601),
        ("InternVL2.5-26B", 13 * 256),
        ("NVLM-D-72B", 7 * 256),
        ("LLaVA-OneVision-7B", 8154),
        ("Qwen2.5-VL-7B", 16384),
    ],
)
def test_the_largest_image_is_what_the_model_can_give_the_llm(name: str, tokens: int) -> None:
    model = load_model(name)
    assert largest_image_tokens(model) == tokens
    sizes = [(width, height) for width in range(200, 5000, 800) for height in range(200, 5000, 800)]
    seen = max(image_tokens(model, *size) for size in sizes)
    assert 0.8 * tokens <= seen <= (1.07 if model.vision.tiling == "anyres" else 1.0) * tokens


def test_an_image_costs_cross_attention_prefill_the_work_of_fifty_tokens() -> None:
    llama = load_model("Llama-3.2-11B-Vision")
    assert llama.prefill_tokens_per_image(6404) == pytest.approx(49.6, abs=0.1)
    assert llama.kv_tokens_per_image_token == 0.25
    assert load_model("InternVL2.5-26B").prefill_tokens_per_image(1280) == 0


def test_names_may_be_shortened_where_unambiguous() -> None:
    assert load_model("llama-3.2-11b").name == "Llama-3.2-11B-Vision"
    assert load_model("InternVL-2.5").name == "InternVL2.5-26B"


@pytest.mark.parametrize("name", ["LLaVA-OneVision", "Lama-3.2-11B", "Llama-3.2-1", ""])
def test_an_ambiguous_or_unknown_model_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown model .* Known: InternVL2.5-26B"):
        load_model(name)


@pytest.mark.parametrize("name", models())
def test_flops_agree_with_the_reference(name: str, reference: dict[str, Any]) -> None:
    """Encoder of one tile (image, at native resolution), LLM of one token, output table; heads padded apart."""
    model, expected = load_model(name), reference[name]["flops"]
    vision = model_vision_work(replace(model, connector_params=0), (896, 896), 1)
    head_dim = model.vision.hidden / model.vision.heads
    attention = vision.attention_flops * head_dim / (16 * ceil(head_dim / 16))
    tile = expected.get("encoder_per_tile") or expected["encoder_per_image_4_tiles"] / 4
    assert vision.linear_flops + attention == pytest.approx(tile, rel=1e-4)
    token = expected.get("llm_per_token_linear") or expected["llm_per_text_token_linear_image_request"]
    assert model.language.token_flops == pytest.approx(token, rel=1e-6)
    assert 2 * model.language.head_params == expected["lm_head_per_token"]
