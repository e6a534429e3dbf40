"""Chunking policies take as many images as the catalogue says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slackwise.policies import find
from slackwise.policies.knobs import Value

Make = Callable[..., Any]


def jobs(name: str, knobs: dict[str, Value], request_of: Make, instance: Any, images: int = 10) -> list[int]:
    """The sizes of the jobs that a request of `images` images of 4 tiles and 1000 tokens is cut into."""
    policy = find("chunking", name)
    sizes: list[int] = []
    while (left := images - sum(sizes)) > 0:
        request = request_of(images=images, images_left=left, tiles_per_image=4, tokens_per_image=1000, modality=1)
        sizes.append(int(policy.compiled(request, instance, 0.0, policy.params(**knobs))))
    return sizes


@pytest.mark.parametrize(
    ("name", "knobs", "expected"),
    [
        ("none", {}, [10]),
        ("per_image", {}, [1] * 10),
        ("per_image", {"fan_out": 10}, [1] * 10),
        ("per_image", {"fan_out": 8}, [2] * 5),
        ("per_image", {"fan_out": 3}, [4, 4, 2]),
        ("per_image", {"fan_out": 1}, [10]),
        ("k_images", {}, [1] * 10),
        ("k_images", {"images": 4}, [4, 4, 2]),
        ("k_images", {"images": 16}, [10]),
        ("tile_budget", {}, [4, 4, 2]),
        ("tile_budget", {"tiles": 15}, [3, 3, 3, 1]),
        ("tile_budget", {"tiles": 1}, [1] * 10),
        ("tile_budget", {"tiles": 64}, [10]),
        ("encoder_budget", {}, [3, 3, 3, 1]),
        ("encoder_budget", {"tokens": 1024}, [1] * 10),
        ("encoder_budget", {"tokens": 65536}, [10]),
    ],
)
def test_a_request_of_ten_images_is_cut_as_defined(
    name: str, knobs: dict[str, Value], expected: list[int], request_of: Make, instance_of: Make
) -> None:
    assert jobs(name, knobs, request_of, instance_of(encoder_budget_left=3500)) == expected


@pytest.mark.parametrize(("theta", "expected"), [(0.2, [5, 5]), (0.5, [10]), (0.05, [1] * 10)])
def test_the_slo_form_takes_a_share_of_the_tightest_objective(
    theta: float, expected: list[int], request_of: Make, instance_of: Make
) -> None:
    instance = instance_of(tightest_ttft_s=2.1, encode_s_per_tile=0.02)  # 105 tiles a tightest objective
    assert jobs("tile_budget", {"bound": "slo", "theta": theta}, request_of, instance) == expected


@pytest.mark.parametrize("budget", [0, 999])
def test_one_image_is_taken_even_where_none_fits(budget: int, request_of: Make, instance_of: Make) -> None:
    assert jobs("encoder_budget", {}, request_of, instance_of(encoder_budget_left=budget), images=2) == [1, 1]
