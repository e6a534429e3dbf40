"""Cases small enough to be computed by hand: what the rules say, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slackwise.latency.costs import base_seconds, step_seconds
from slackwise.latency.model import load_model
from slackwise.latency.transfer import transfer_seconds
from slackwise.simulator import Cluster, Pool, Simulation
from slackwise.simulator.histogram import bucket
from tests.simulator.cases import (
    CROSS_ATTENTION,
    DECODER_ONLY,
    GPU,
    OBJECTIVES,
    apart,
    configuration,
    monolith,
    shrink_memory,
    trace_of,
)

MODELS = pytest.mark.parametrize("model", [CROSS_ATTENTION, DECODER_ONLY])
Rows = list[tuple[float, int, int, int]]  # arrival_s, images, context tokens, output tokens


def served(rows: Rows, cluster: Cluster, **names: str) -> Simulation:
    """The rows served to the end."""
    simulation = Simulation(trace_of(rows), configuration(cluster, **names), OBJECTIVES, image_context="keep")
    simulation.run_until()
    return simulation


def prefill_s(
    simulation: Simulation, *chunks: tuple[int, int], extra: int = 0, text_only: bool, tiles: int = 0
) -> float:
    """Seconds of a step of the LLM that takes (tokens before, tokens now) of each request and decodes none."""
    tokens = sum(now for _, now in chunks)
    pairs = sum(now * (before + 0.5 * now) for before, now in chunks)
    pool = simulation.state.pools[-1]
    return float(step_seconds(simulation.state.costs[-1], pool.linear_s, tokens + extra, 0, pairs, tiles, text_only))


def decode_s(simulation: Simulation, steps: int, *held: int, text_only: bool = True) -> float:
    """Seconds of decode-only steps of requests that hold these KV tokens at the first of them, one added to another."""
    costs, linear_s = simulation.state.costs[-1], simulation.state.pools[-1].linear_s
    kv = [sum(held) + step * len(held) for step in range(steps)]
    return float(sum(base_seconds(costs, linear_s, len(held), text_only) + costs.kv_s_per_token * each for each in kv))


def encode_s(simulation: Simulation, images: int) -> float:
    """Seconds of an encode step of `images` images."""
    costs, tiles = simulation.state.costs[0], int(simulation.state.requests.tiles_per_image.max())
    return float(costs.encode_step_s + images * tiles * costs.encode_s_per_tile)


def times(simulation: Simulation, name: str) -> Any:
    """A column of PROGRESS."""
    return simulation.state.progress[name]


@MODELS
def test_a_text_request_alone_takes_one_prefill_step_and_its_decode_steps(model: str) -> None:
    run = served([(2.0, 0, 100, 4)], monolith(model))
    first_s = 2.0 + prefill_s(run, (0, 100), text_only=True)
    assert times(run, "first_token_s") == pytest.approx(first_s, rel=1e-12)
    assert times(run, "finish_s") == pytest.approx(first_s + decode_s(run, 3, 100), rel=1e-12)


def test_an_answer_of_one_token_ends_with_prefill_and_one_of_none_counts_as_one() -> None:
    run = served([(0.0, 0, 100, 1), (10.0, 0, 100, 0)], monolith())
    np.testing.assert_array_equal(times(run, "finish_s"), times(run, "first_token_s"))
    assert run.state.tbt.tokens.sum() == 0


@MODELS
def test_an_image_is_encoded_then_travels_then_is_prefilled(model: str) -> None:
    run = served([(1.0, 1, 50, 3)], apart(model))
    request, hidden = run.state.requests[0], run.state.progress[0]
    encoded_s = 1.0 + encode_s(run, 1)
    moved_s = float(transfer_seconds(load_model(model), int(request.image_tokens), "nvlink"))
    prompt = 50 + (int(request.image_tokens) if model == DECODER_ONLY else 0)
    assert request.prompt_tokens == prompt
    first_s = encoded_s + moved_s + prefill_s(run, (0, prompt), extra=int(hidden.extra_tokens), text_only=False)
    kv = prompt + int(hidden.image_kv_tokens)
    assert hidden.encoded_s == pytest.approx(encoded_s, rel=1e-12)
    assert hidden.first_token_s == pytest.approx(first_s, rel=1e-12)
    assert hidden.finish_s == pytest.approx(first_s + decode_s(run, 2, kv, text_only=False), rel=1e-12)


def test_a_cross_attention_model_keeps_its_images_beside_the_sequence_and_a_decoder_only_one_inside() -> None:
    beside, inside = (served([(0.0, 2, 50, 2)], apart(model)).state for model in (CROSS_ATTENTION, DECODER_ONLY))
    assert beside.requests.prompt_tokens == 50
    assert beside.progress.image_kv_tokens == 0.25 * beside.requests.image_tokens  # 8 of its 40 layers, of 32 others
    assert beside.progress.extra_tokens > 0
    assert inside.requests.prompt_tokens == 50 + inside.requests.image_tokens
    assert inside.progress.image_kv_tokens == inside.progress.extra_tokens == 0


def test_a_long_prompt_is_prefilled_in_chunks_of_the_token_budget() -> None:
    run = served([(0.0, 0, 5000, 1)], monolith(engine="vllm"))
    chunks = [(0, 2048), (2048, 2048), (4096, 904)]
    expected_s = sum(prefill_s(run, chunk, text_only=True) for chunk in chunks)
    assert times(run, "finish_s") == pytest.approx(expected_s, rel=1e-12)


def test_a_limit_on_chunks_leaves_the_rest_of_the_budget_to_others() -> None:
    rows = [(0.0, 0, 10, 1), (0.0, 0, 1500, 1), (0.0, 0, 700, 1)]
    simulation = Simulation(trace_of(rows), configuration(monolith()), OBJECTIVES)
    simulation.state.pools.max_chunk_tokens = 1000
    simulation.run_until()
    all_s = prefill_s(simulation, (0, 10), (0, 1000), (0, 700), text_only=True)
    rest_s = all_s + prefill_s(simulation, (1000, 500), text_only=True)
    np.testing.assert_allclose(times(simulation, "finish_s"), [all_s, rest_s, all_s], rtol=1e-12)


def budgeted(rows: Rows, cluster: Cluster, budget_tokens: int) -> Simulation:
    """The rows served to the end by engines that encode `budget_tokens` image tokens a step."""
    simulation = Simulation(
        trace_of(rows), configuration(cluster, chunking="encoder_budget"), OBJECTIVES, image_context="keep"
    )
    simulation.state.pools.encoder_budget_tokens = budget_tokens
    simulation.run_until()
    return simulation


def test_an_image_is_atomic_under_the_encoder_budget_and_text_waits_for_its_images() -> None:
    run = budgeted([(0.0, 2, 100, 1)], monolith(DECODER_ONLY), 2048)
    tokens, tiles = int(run.state.requests.tokens_per_image[0]), int(run.state.requests.tiles_per_image[0])
    assert tokens < 2048 < 2 * tokens
    first_s = prefill_s(run, (0, tokens), text_only=False, tiles=tiles)
    second_s = prefill_s(run, (tokens, tokens + 100), text_only=False, tiles=tiles)
    assert times(run, "encoded_s") == pytest.approx(first_s + second_s, rel=1e-12)
    assert times(run, "finish_s") == pytest.approx(first_s + second_s, rel=1e-12)


def test_an_image_larger_than_the_encoder_budget_is_encoded_all_the_same() -> None:
    run = budgeted([(0.0, 2, 100, 1)], monolith(CROSS_ATTENTION), 2048)
    assert run.state.requests.tokens_per_image[0] > 2048
    extra = int(times(run, "extra_tokens")[0])
    tiles = int(run.state.requests.tiles_per_image[0])
    last_s = prefill_s(run, (0, 100), extra=extra, text_only=False, tiles=tiles)
    assert times(run, "finish_s") == pytest.approx(
        encode_s(run, 1) + last_s, rel=1e-12
    )  # text only with the last image


@pytest.mark.parametrize(("model", "budget"), [(CROSS_ATTENTION, 6404), (DECODER_ONLY, 3328), ("NVLM-D-72B", 2048)])
def test_the_encoder_budget_of_vllm_holds_the_largest_image_of_the_model(model: str, budget: int) -> None:
    cluster = Cluster(model, GPU, (Pool("EPD", 1, 8, "vllm"),))
    run = served([(0.0, 2, 100, 1)], cluster, chunking="encoder_budget")
    assert run.state.pools.encoder_budget_tokens.tolist() == [budget]


def test_vllm_encodes_two_images_in_a_step_where_its_budget_holds_two() -> None:
    run = served([(0.0, 2, 100, 1)], monolith(DECODER_ONLY), chunking="encoder_budget")
    tokens, tiles = 2 * int(run.state.requests.tokens_per_image[0]), 2 * int(run.state.requests.tiles_per_image[0])
    first_s = prefill_s(run, (0, 2048), text_only=False, tiles=tiles)
    assert times(run, "encoded_s") == pytest.approx(first_s, rel=1e-12)
    assert times(run, "finish_s") == pytest.approx(
        first_s + prefill_s(run, (2048, tokens + 100 - 2048), text_only=False), rel=1e-12
    )


def test_a_full_encoder_cache_of_vllm_holds_back_an_image_that_the_budget_has_room_for() -> None:
    run = served([(0.0, 4, 100, 1)], monolith(DECODER_ONLY), chunking="encoder_budget")
    assert run.state.pools.encoder_cache_tokens.tolist() == [3328]
    tokens, tiles = int(run.state.requests.tokens_per_image[0]), int(run.state.requests.tiles_per_image[0])
    # after the first step one image and a half are used: the second stays, and one more fits beside it
    steps_s = prefill_s(run, (0, 2048), text_only=False, tiles=2 * tiles)
    steps_s += prefill_s(run, (2048, 3 * tokens - 2048), text_only=False, tiles=tiles)
    assert times(run, "encoded_s") == pytest.approx(
        steps_s + prefill_s(run, (3 * tokens, tokens + 100), text_only=False, tiles=tiles), rel=1e-12
    )
    assert run.state.engines.encoder_cache_tokens.tolist() == [0]


def test_an_image_larger_than_the_encoder_cache_is_encoded_all_the_same() -> None:
    simulation = Simulation(trace_of([(0.0, 3, 100, 1)]), configuration(monolith(DECODER_ONLY)), OBJECTIVES)
    simulation.state.pools.encoder_cache_tokens = 1000
    simulation.run_until(check=True)
    assert simulation.state.instances.steps.tolist() == [3]


@MODELS
def test_text_passes_by_the_encoders(model: str) -> None:
    rows = [(0.0, 8, 50, 5), (0.0, 0, 100, 2)]
    run = served(rows, apart(model))
    assert times(run, "first_token_s")[1] == pytest.approx(prefill_s(run, (0, 100), text_only=True), rel=1e-12)
    assert run.state.instances.assigned.tolist() == [1, 2]
    assert np.isnan(times(run, "encoded_s")[1])


@MODELS
def test_images_fanned_out_over_encoders_take_the_time_of_one(model: str) -> None:
    fanned, whole = (
        served([(0.0, 4, 50, 1)], apart(model, encoders=4), chunking=each) for each in ("per_image", "none")
    )
    assert times(fanned, "encoded_s") == pytest.approx(encode_s(fanned, 1), rel=1e-12)
    assert times(whole, "encoded_s") == pytest.approx(encode_s(whole, 4), rel=1e-12)
    assert fanned.state.instances.assigned.tolist() == [1, 1, 1, 1, 1]


def test_an_encoder_of_transformers_takes_one_job_at_a_time_and_one_of_vllm_what_fits_its_budget() -> None:
    rows = [(0.0, 1, 50, 1)] * 3
    alone = served(rows, apart(DECODER_ONLY, encoder="transformers"))
    np.testing.assert_allclose(times(alone, "encoded_s"), encode_s(alone, 1) * np.arange(1, 4), rtol=1e-12)
    together = Simulation(trace_of(rows), configuration(apart(DECODER_ONLY, encoder="vllm")), OBJECTIVES)
    together.state.pools.encoder_budget_tokens[0] = 2 * together.state.requests.tokens_per_image[0]
    together.run_until()
    pair_s = encode_s(together, 2)
    last_s = pair_s + encode_s(together, 1)
    np.testing.assert_allclose(times(together, "encoded_s"), [pair_s, pair_s, last_s], rtol=1e-12)


def test_vllm_07_stalls_decodes_while_it_prefills_and_its_tbt_shows_it() -> None:
    run = served([(0.0, 0, 100, 200), (0.5, 0, 4000, 2)], monolith(engine="vllm-0.7"))
    first_s = prefill_s(run, (0, 100), text_only=True)
    steps = next(n for n in range(1, 200) if first_s + decode_s(run, n, 100) >= 0.5)
    stalled_s = prefill_s(run, (0, 4000), text_only=True)
    arrived_s = first_s + decode_s(run, steps, 100)
    assert times(run, "first_token_s")[1] == pytest.approx(arrived_s + stalled_s, rel=1e-12)
    gap_s = stalled_s + decode_s(run, 1, 100 + steps, 4000)
    assert np.flatnonzero(run.state.tbt.tokens[0]).max() == bucket(gap_s)
    rest_s = decode_s(run, 199 - steps - 1, 100 + steps + 1)
    assert times(run, "finish_s")[0] == pytest.approx(arrived_s + gap_s + rest_s, rel=1e-12)


def test_vllm_mixes_prefill_into_the_decodes() -> None:
    run = served([(0.0, 0, 100, 200), (0.5, 0, 1000, 2)], monolith(engine="vllm"))
    first_s = prefill_s(run, (0, 100), text_only=True)
    steps = next(n for n in range(1, 200) if first_s + decode_s(run, n, 100) >= 0.5)
    costs, linear_s = run.state.costs[0], run.state.pools[0].linear_s
    mixed_s = float(step_seconds(costs, linear_s, 1001, 100 + steps, 0.5 * 1000**2, 0, True))
    assert times(run, "first_token_s")[1] == pytest.approx(first_s + decode_s(run, steps, 100) + mixed_s, rel=1e-12)
    assert run.state.tbt.tokens[0][bucket(mixed_s)] == 1


def test_vllm_07_takes_whole_prompts_with_all_their_images_in_one_step() -> None:
    run = served([(0.0, 3, 100, 1)], monolith(DECODER_ONLY, engine="vllm-0.7"))
    request = run.state.requests[0]
    tiles = 3 * int(request.tiles_per_image)
    expected_s = prefill_s(run, (0, int(request.prompt_tokens)), text_only=False, tiles=tiles)
    assert times(run, "finish_s") == pytest.approx(expected_s, rel=1e-12)


def test_whoever_was_admitted_last_is_preempted_and_computed_again() -> None:
    simulation = Simulation(
        trace_of([(0.0, 0, 50, 1), (0.0, 0, 50, 40), (0.0, 0, 50, 40)]), configuration(monolith()), OBJECTIVES
    )
    shrink_memory(simulation, spare_tokens=60)  # 90 + 60: two of them reach 150 after 25 steps
    simulation.run_until()
    both_s = prefill_s(simulation, (0, 50), (0, 50), (0, 50), text_only=True)
    assert times(simulation, "first_token_s").tolist() == pytest.approx([both_s, both_s, both_s], rel=1e-12)
    alone_s = both_s + decode_s(simulation, 25, 50, 50) + decode_s(simulation, 14, 75)
    again_s = alone_s + prefill_s(simulation, (0, 76), text_only=True)  # its 26 tokens are part of the prompt now
    assert times(simulation, "preemptions").tolist() == [0, 0, 1]
    assert times(simulation, "finish_s")[1] == pytest.approx(alone_s, rel=1e-12)
    assert times(simulation, "finish_s")[2] == pytest.approx(again_s + decode_s(simulation, 13, 76), rel=1e-12)
    waited_s = again_s - both_s - decode_s(simulation, 25, 50, 50)
    assert simulation.state.tbt.tokens[0].sum() == 2 * 39
    assert np.flatnonzero(simulation.state.tbt.tokens[0]).max() == bucket(waited_s)


def test_no_more_sequences_run_than_allowed() -> None:
    simulation = Simulation(trace_of([(0.0, 0, 50, 10)] * 3), configuration(monolith()), OBJECTIVES)
    simulation.state.pools.max_sequences = 1
    simulation.run_until()
    one_s = prefill_s(simulation, (0, 50), text_only=True) + decode_s(simulation, 9, 50)
    np.testing.assert_allclose(times(simulation, "finish_s"), one_s * np.arange(1, 4), rtol=1e-12)


def test_the_watermark_of_vllm_07_keeps_a_request_waiting_that_would_fit_without_it() -> None:
    rows = [(0.0, 0, 50, 20), (0.0, 0, 50, 20)]
    finish_s = []
    for watermark in (0, 50):
        simulation = Simulation(trace_of(rows), configuration(monolith(engine="vllm-0.7")), OBJECTIVES)
        shrink_memory(simulation, spare_tokens=75 - watermark, watermark_tokens=watermark)
        simulation.run_until()
        finish_s.append(times(simulation, "finish_s")[1])
        assert simulation.state.progress.preemptions.sum() == 0
    assert finish_s[0] < finish_s[1]


def test_an_idle_instance_begins_after_all_that_comes_at_one_time() -> None:
    alone = served([(0.0, 1, 50, 1)], apart(DECODER_ONLY))
    delivered_s = float(times(alone, "encoded_s")[0] + times(alone, "near_transfer_s")[0])
    run = served([(0.0, 1, 50, 1), (delivered_s, 0, 100, 1)], apart(DECODER_ONLY))
    prompt = int(run.state.requests.prompt_tokens[0])
    both_s = delivered_s + prefill_s(run, (0, prompt), (0, 100), text_only=False)
    assert times(run, "first_token_s").tolist() == pytest.approx([both_s, both_s], rel=1e-12)


def test_whoever_arrives_at_the_end_of_a_step_is_in_the_next() -> None:
    end_s = float(times(served([(0.0, 0, 100, 1)], monolith()), "finish_s")[0])
    both = served([(0.0, 0, 100, 2), (end_s, 0, 200, 1)], monolith())
    costs, linear_s = both.state.costs[0], both.state.pools[0].linear_s
    mixed_s = float(step_seconds(costs, linear_s, 201, 100, 0.5 * 200**2, 0, True))
    assert times(both, "finish_s").tolist() == [pytest.approx(end_s + mixed_s, rel=1e-12)] * 2
