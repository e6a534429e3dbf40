"""Blocks of time are drawn evenly, within their window, as long as the correlation asks for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.tuning.blocks import SHORTEST_BLOCK_S, Cells, automatic_length, blocks, cut, draw


def drawn(cells: Cells, size: int, resamples: int) -> NDArray[np.int32]:
    return np.concatenate(list(draw(cells, size, resamples, np.random.default_rng(0))))


def test_every_resample_is_as_long_as_its_windows() -> None:
    weights = drawn(Cells((25, 11), 10.0), 6, 250)
    assert weights.shape == (250, 36)
    assert (weights[:, :25].sum(axis=1) == 25).all()
    assert (weights[:, 25:].sum(axis=1) == 11).all()


def test_every_cell_has_the_same_chance_edges_included() -> None:
    mean = drawn(Cells((30,), 10.0), 7, 20_000).mean(axis=0)
    np.testing.assert_allclose(mean, 1.0, atol=0.05)


def test_neighbours_are_drawn_together() -> None:
    weights = drawn(Cells((400,), 10.0), 20, 500).astype(float)
    together = np.corrcoef(weights[:, 100], weights[:, 101])[0, 1]
    apart = np.corrcoef(weights[:, 100], weights[:, 200])[0, 1]
    assert together > 0.85
    assert abs(apart) < 0.2


def test_requests_fall_into_the_cells_of_their_own_window() -> None:
    arrivals = [np.array([100.0, 109.0, 131.0]), np.array([5.0, 24.0])]
    cells = cut(arrivals)
    assert cells == Cells((4, 2), 10.0)
    assert cells.of(arrivals).tolist() == [0, 0, 3, 4, 5]
    assert cells.blocks(3).tolist() == [0, 0, 0, 1, 2, 2]


def moving_mean(count: int, width: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(3).normal(size=count)
    return np.asarray(np.convolve(noise, np.full(width, 1 / width), mode="same"), np.float64)


def test_uncorrelated_cells_ask_for_short_blocks_and_correlated_ones_for_long() -> None:
    assert automatic_length(moving_mean(4000, 1)) < 10
    assert automatic_length(moving_mean(4000, 50)) > 40
    assert automatic_length(np.ones(4000)) == 1.0


def test_blocks_are_a_minute_or_what_is_asked_or_what_correlation_asks() -> None:
    cells = Cells((4000,), 10.0)
    assert blocks(cells, [np.ones(4000)]).seconds == SHORTEST_BLOCK_S
    assert blocks(cells, [], block_s=300.0).seconds == 300.0
    assert blocks(cells, [moving_mean(4000, 50)]).seconds > 400.0


def test_a_window_too_short_for_its_memory_says_so() -> None:
    cells = Cells((120,), 10.0)
    chosen = blocks(cells, [moving_mean(120, 60)])
    assert chosen.enough
    assert "too narrow" in chosen.describe()
    assert "too few" in blocks(Cells((20,), 10.0), []).describe()


@pytest.mark.parametrize("length", [0.0, -1.0, math.inf, math.nan])
def test_a_block_of_no_length_is_refused(length: float) -> None:
    with pytest.raises(InputError, match="positive length"):
        cut([np.arange(3, dtype=np.float64)], length)
