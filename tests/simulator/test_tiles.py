"""Tiles as the unit of encode work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.simulator import Cluster, Simulation, result_of
from tests.simulator.cases import CROSS_ATTENTION, DECODER_ONLY, OBJECTIVES, apart, configuration, monolith, trace_of
from tests.simulator.test_by_hand import Rows, encode_s, times
from tests.simulator.watched import Watched, differences

ROWS: Rows = [(0.0, 2, 500, 5), (0.1, 0, 300, 5), (0.2, 5, 900, 5), (40.0, 1, 400, 2)]


def served(cluster: Cluster, rows: Rows = ROWS, unit: str = "tile", chunking: str = "per_image") -> Simulation:
    """The rows served to the end, invariants looked at and the reference held equal."""
    chosen = configuration(replace(cluster, encode_unit=unit), chunking=chunking)
    run = Simulation(trace_of(rows), chosen, OBJECTIVES, image_context="keep")
    reference = Watched(run)
    run.run_until(check=True)
    reference.run()
    assert differences(run, reference) == []
    return run


def test_a_picture_is_spread_over_encoders_tile_by_tile() -> None:
    one: Rows = [(0.0, 1, 400, 2)]
    cluster = apart(DECODER_ONLY, encoders=5)
    whole, cut = served(cluster, one, "image"), served(cluster, one)
    tiles = int(whole.state.requests.tiles_per_image[0])
    assert tiles == cut.state.requests.images[0] == 5
    assert cut.state.requests.image_tokens.tolist() == whole.state.requests.image_tokens.tolist()
    costs = cut.state.costs[0]
    assert times(whole, "encoded_s")[0] == pytest.approx(costs.encode_step_s + 5 * costs.encode_s_per_tile)
    assert times(cut, "encoded_s")[0] == pytest.approx(costs.encode_step_s + costs.encode_s_per_tile)


def test_taken_together_the_tiles_take_as_long_as_the_images() -> None:
    cluster = apart(DECODER_ONLY)
    whole, cut = served(cluster, unit="image", chunking="none"), served(cluster, chunking="none")
    for name in ("encoded_s", "first_token_s", "finish_s"):
        np.testing.assert_allclose(times(cut, name), times(whole, name), rtol=1e-9)
    np.testing.assert_array_equal(result_of(cut).category, result_of(whole).category)
    np.testing.assert_allclose(result_of(cut).ttft_objective_s, result_of(whole).ttft_objective_s)
    assert times(whole, "encoded_s")[3] - 40.0 == pytest.approx(encode_s(whole, 1))


def test_a_monolith_may_encode_part_of_an_image_in_a_step() -> None:
    whole, cut = served(monolith(DECODER_ONLY), unit="image"), served(monolith(DECODER_ONLY))
    assert cut.state.instances.steps[0] >= whole.state.instances.steps[0]
    assert cut.state.requests.images_left.tolist() == [0, 0, 0, 0]


def test_images_pass_the_cpu_whole() -> None:
    cluster = replace(apart(DECODER_ONLY), preprocess_workers=2)
    whole, cut = served(cluster, unit="image"), served(cluster)
    np.testing.assert_array_equal(whole.ready_s, cut.ready_s)
    np.testing.assert_array_equal(result_of(whole).preprocess_wait_s, result_of(cut).preprocess_wait_s)


def test_tiles_that_are_encoded_together_are_not_cut_apart() -> None:
    with pytest.raises(InputError, match=r"Llama.* encodes the tiles of an image together"):
        served(apart(CROSS_ATTENTION))
    with pytest.raises(InputError, match="encode_unit of a cluster is image or tile, not 'pixel'"):
        replace(apart(DECODER_ONLY), encode_unit="pixel")
