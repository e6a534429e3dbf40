"""Encode-prefill overlap: prefill runs up to the first image that is not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.simulator import Cluster, Pool, Simulation, simulate
from tests.simulator.cases import CROSS_ATTENTION, DECODER_ONLY, GPU, OBJECTIVES, apart, configuration, trace_of
from tests.simulator.test_by_hand import Rows, encode_s, prefill_s, times

LATENCY_S = 10e-6  # of NVLink


def served(
    rows: Rows, overlap_tokens: int, encoders: int = 1, model: str = DECODER_ONLY, engine: str = "vllm"
) -> Simulation:
    """The rows served by encoders and one LLM instance on one server, an image a job."""
    cluster = replace(apart(model, engine, encoders), overlap_tokens=overlap_tokens)
    chosen = configuration(cluster, chunking="per_image")
    run = Simulation(trace_of(rows), chosen, OBJECTIVES, image_context="keep")
    run.run_until(check=True)
    return run


def image_s(run: Simulation, images: int) -> float:
    """Seconds until the embeddings of one image of a request with `images` images are moved."""
    return LATENCY_S + (float(times(run, "near_transfer_s")[0]) - LATENCY_S) / images


def test_each_image_is_prefilled_while_the_next_one_is_encoded_and_text_comes_with_the_last() -> None:
    run = served([(0.0, 3, 50, 1)], overlap_tokens=1)
    tokens, one_s = int(run.state.requests.tokens_per_image[0]), encode_s(run, 1)
    chunk_s = prefill_s(run, (tokens, tokens), text_only=False)
    assert chunk_s < one_s  # so that prefill waits for images
    last_s = prefill_s(run, (2 * tokens, tokens + 50), text_only=False)
    assert times(run, "encoded_s") == pytest.approx(3 * one_s, rel=1e-12)
    assert times(run, "finish_s") == pytest.approx(3 * one_s + image_s(run, 3) + last_s, rel=1e-9)
    assert run.state.instances.steps.tolist() == [3, 3]
    waiting = served([(0.0, 3, 50, 1)], overlap_tokens=0)
    assert times(run, "finish_s") < times(waiting, "finish_s")


@pytest.mark.parametrize(("images", "spare", "steps"), [(1, 0, 4), (1, 1, 2), (2, 0, 2), (2, 1, 2), (3, 1, 1)])
def test_the_smallest_chunk_waits_until_it_is_whole(images: int, spare: int, steps: int) -> None:
    cluster = replace(apart(DECODER_ONLY), overlap_tokens=images * 1280 + spare)
    run = Simulation(trace_of([(0.0, 4, 50, 1)]), configuration(cluster, chunking="per_image"), OBJECTIVES)
    run.state.pools.max_step_tokens = run.state.instances.token_budget_left = 1 << 17
    run.run_until()
    assert run.state.requests.tokens_per_image.tolist() == [1280]
    assert run.state.instances.steps[1] == steps


def test_an_image_that_overtakes_the_one_before_waits_for_it() -> None:
    pools = Pool("E", 1, 1, "transformers"), Pool("E", 1, 4, "transformers"), Pool("PD", 1, 4)
    cluster = Cluster(DECODER_ONLY, GPU, pools, overlap_tokens=1, placement=((1,), (1,), (0,)))
    chosen = configuration(cluster, chunking="per_image", encode_routing="round_robin")
    run = Simulation(trace_of([(0.0, 2, 50, 1)]), chosen, OBJECTIVES, image_context="keep")
    run.run_until(check=True)
    slow_s, fast_s = (float(engine.busy_s) for engine in run.state.engines[:2])
    assert fast_s < 0.9 * slow_s
    moved_s = 20e-6 + (float(times(run, "transfer_s")[0]) - 20e-6) / 2
    chunks_s = prefill_s(run, (0, 2048), text_only=False) + prefill_s(run, (2048, 562), text_only=False)
    assert times(run, "finish_s") == pytest.approx(slow_s + moved_s + chunks_s, rel=1e-9)


@pytest.mark.parametrize(("model", "engine"), [(CROSS_ATTENTION, "vllm"), (DECODER_ONLY, "vllm-0.7")])
def test_models_and_engines_that_need_all_images_first_wait_for_them(model: str, engine: str) -> None:
    rows: Rows = [(0.0, 3, 50, 5), (0.1, 2, 50, 5)]
    overlapped, waiting = (served(rows, tokens, model=model, engine=engine) for tokens in (1, 0))
    np.testing.assert_array_equal(overlapped.state.instances.steps, waiting.state.instances.steps)
    if model == CROSS_ATTENTION:
        assert times(overlapped, "finish_s").tolist() == times(waiting, "finish_s").tolist()


def test_overlap_brings_first_tokens_forward_when_encoders_are_the_slower_stage() -> None:
    rows = [(2.0 * at, 6, 200, 5) for at in range(10)]
    chosen = [
        configuration(replace(apart(DECODER_ONLY, encoders=2), overlap_tokens=tokens), chunking="per_image")
        for tokens in (512, 0)
    ]
    overlapped, waiting = (simulate(trace_of(rows), each, OBJECTIVES).ttft_s.mean() for each in chosen)
    assert overlapped < 0.9 * waiting


def test_a_negative_chunk_is_refused() -> None:
    with pytest.raises(InputError, match="overlap_tokens of a cluster must be finite and not negative: -1"):
        replace(apart(), overlap_tokens=-1)
