"""Transfers and preprocessing: sizes, links, and the figures that ModServe (2025) gives."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.latency.model import load_model
from slackwise.latency.preprocess import pixels_written, preprocess_images_seconds, preprocess_seconds
from slackwise.latency.transfer import transfer_seconds

LLAMA = load_model("Llama-3.2-11B-Vision")


def test_an_image_moves_in_the_times_of_modserve() -> None:
    assert transfer_seconds(LLAMA, 6404, "infiniband") == pytest.approx(5e-3, rel=0.05)
    assert 0.1 * 0.9 < transfer_seconds(LLAMA, 6404, "tcp") < 0.18  # P50 and P99 of the paper


def test_links_rank_by_speed_for_any_size() -> None:
    tokens = np.array([1, 100, 6404, 60_000])
    fast, middle, slow = (transfer_seconds(LLAMA, tokens, link) for link in ("nvlink", "infiniband", "tcp"))
    assert np.all(fast < middle)
    assert np.all(middle < slow)


def test_no_tokens_take_no_time_and_seconds_grow_with_tokens() -> None:
    seconds = transfer_seconds(LLAMA, np.array([0, 1, 2, 3]), "tcp")
    assert seconds[0] == 0
    assert np.all(np.diff(seconds) > 0)


@pytest.mark.parametrize(
    ("name", "values"), [("Llama-3.2-11B-Vision", 7680), ("InternVL2.5-26B", 12800), ("Qwen3-VL-8B", 4 * 4096)]
)
def test_embeddings_travel_before_the_connector_and_deepstack_maps_with_them(name: str, values: int) -> None:
    model = load_model(name)
    slope = transfer_seconds(model, 1001, "tcp") - transfer_seconds(model, 1, "tcp")
    assert slope == pytest.approx(1000 * values * 2 / 1e9)


def test_an_unknown_link_names_the_closest() -> None:
    with pytest.raises(InputError, match="did you mean 'infiniband'"):
        transfer_seconds(LLAMA, 1, "infinband")


def test_preprocessing_counts_padded_pixels_and_grows_with_the_image() -> None:
    assert pixels_written(LLAMA, 100, 100) == 4 * 560**2
    assert pixels_written(load_model("Qwen2.5-VL-7B"), 896, 896) == 896**2
    assert 0.005 < preprocess_seconds(LLAMA, 500, 500) < preprocess_seconds(LLAMA, 2000, 2000) < 0.2


def test_preprocessing_is_linear_in_images_and_falls_with_workers() -> None:
    one = preprocess_seconds(LLAMA, 896, 896)
    several = [preprocess_images_seconds(LLAMA, 896, 896, 8, workers) for workers in (1, 2, 3, 8, 100)]
    assert several == pytest.approx([8 * one, 4 * one, 3 * one, one, one])
    with pytest.raises(InputError, match="at least 1 worker, not 0"):
        preprocess_images_seconds(LLAMA, 896, 896, 8, 0)
