"""Requests that come again: embeddings and prompt prefixes are kept, and routed to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import CheckError, InputError
from slackwise.policies.features import REQUEST
from slackwise.simulator import Cluster, Simulation, result_of
from slackwise.simulator.invariants import check
from slackwise.simulator.state import State, records
from slackwise.simulator.workload import contents
from tests.simulator.cases import CROSS_ATTENTION, DECODER_ONLY, OBJECTIVES, apart, configuration, monolith, trace_of
from tests.simulator.test_by_hand import Rows, encode_s, prefill_s, times

MODELS = pytest.mark.parametrize("model", [CROSS_ATTENTION, DECODER_ONLY])
SAME: Rows = [(0.0, 2, 500, 3), (50.0, 2, 500, 3), (100.0, 2, 500, 3), (150.0, 2, 501, 3)]


def served(rows: Rows, cluster: Cluster, **names: str) -> Simulation:
    """The rows served to the end, every invariant looked at."""
    run = Simulation(trace_of(rows), configuration(cluster, **names), OBJECTIVES, image_context="keep")
    run.run_until(check=True)
    return run


def keeping(cluster: Cluster, **tokens: int) -> Cluster:
    """The cluster with repeats within 60 s, and caches of these sizes."""
    return replace(cluster, repeat_window_s=60.0, **tokens)  # type: ignore[arg-type]


def encoding_s(run: Simulation) -> Any:
    """Seconds from each arrival to its last image encoded."""
    return times(run, "encoded_s") - run.arrival_s


@MODELS
def test_images_that_an_encoder_has_kept_are_not_encoded_again_but_travel_again(model: str) -> None:
    run = served(SAME, keeping(apart(model), embedding_cache_tokens=10**6))
    np.testing.assert_allclose(encoding_s(run), [encode_s(run, 2), 0.0, 0.0, encode_s(run, 2)], rtol=1e-9)
    waited = times(run, "first_token_s") - times(run, "encoded_s")
    np.testing.assert_allclose(waited[:3], waited[0], rtol=1e-9)
    assert (result_of(run).jobs_reused, result_of(run).prefixes_reused) == (2, 0)


def test_whoever_has_not_been_used_for_longest_makes_room() -> None:
    rows: Rows = [(20.0 * at, 1, context, 1) for at, context in enumerate([500, 600, 500, 700, 500, 600])]
    cluster = keeping(apart(DECODER_ONLY), embedding_cache_tokens=2 * 1280)
    run = served(rows, replace(cluster, repeat_window_s=1e3))
    one_s = encode_s(run, 1)  # 700 displaces 600, which was not asked for since
    np.testing.assert_allclose(encoding_s(run), [one_s, one_s, 0.0, one_s, 0.0, one_s], rtol=1e-9)


def test_jobs_that_a_cache_cannot_hold_are_not_kept_and_another_encoder_has_kept_nothing() -> None:
    small = served(SAME, keeping(apart(DECODER_ONLY), embedding_cache_tokens=2559))
    dealt = keeping(apart(DECODER_ONLY, encoders=2), embedding_cache_tokens=10**6)
    for run in (small, served(SAME[:2], dealt, encode_routing="round_robin")):
        np.testing.assert_allclose(encoding_s(run), encode_s(run, 2), rtol=1e-9)


@MODELS
def test_a_prefix_that_is_kept_is_not_computed_again(model: str) -> None:
    run = served(SAME, keeping(apart(model), prefix_cache_tokens=20_000))
    prompt = int(run.state.requests.prompt_tokens[0])
    kept = (prompt - 1) // 16 * 16
    again_s = prefill_s(run, (kept, prompt - kept), text_only=False)
    moved_s = times(run, "near_transfer_s")[0]
    seconds = times(run, "first_token_s") - times(run, "encoded_s") - moved_s
    np.testing.assert_allclose(seconds[1:3], again_s, rtol=1e-6)
    assert seconds[3] == pytest.approx(seconds[0], rel=1e-2)
    np.testing.assert_allclose(encoding_s(run), encode_s(run, 2), rtol=1e-9)
    assert result_of(run).prefixes_reused == 2


def test_on_a_monolith_the_images_of_a_kept_prefix_are_not_encoded() -> None:
    run = served(SAME, keeping(monolith(DECODER_ONLY), prefix_cache_tokens=20_000), chunking="encoder_budget")
    assert encoding_s(run)[0] > 0
    assert encoding_s(run)[1:3].tolist() == [0.0, 0.0]


def test_an_image_that_the_last_whole_block_of_a_kept_prefix_cuts_is_encoded_again() -> None:
    rows: Rows = [(at, 1, 1, 1) for at in (0.0, 50.0)]
    run = served(rows, keeping(monolith("LLaVA-OneVision-7B"), prefix_cache_tokens=20_000))
    assert run.state.requests.prompt_tokens.tolist() == [7372, 7372]
    assert result_of(run).prefixes_reused == 1
    assert encoding_s(run)[1] > 0


def test_memory_set_aside_for_prefixes_is_missing_elsewhere() -> None:
    plain, kept = (Simulation(trace_of(SAME), configuration(each), OBJECTIVES) for each in pair())
    difference = plain.state.instances.kv_capacity_tokens - kept.state.instances.kv_capacity_tokens
    assert difference.tolist() == [0, 5000]
    with pytest.raises(InputError, match=r"prefix_cache_tokens = 10000000 leaves nothing of \d+ tokens of KV cache"):
        served(SAME, keeping(apart(DECODER_ONLY), prefix_cache_tokens=10**7))


def pair() -> tuple[Cluster, Cluster]:
    """A cluster without and with a prefix cache."""
    return apart(DECODER_ONLY), keeping(apart(DECODER_ONLY), prefix_cache_tokens=5000)


@pytest.mark.parametrize(("affinity", "reused"), [("cache_affinity", 2), ("round_robin", 0)])
def test_affinity_sends_a_repeat_to_where_it_costs_least(affinity: str, reused: int) -> None:
    cluster = keeping(apart(DECODER_ONLY, encoders=3, llms=3), embedding_cache_tokens=10**6, prefix_cache_tokens=20_000)
    result = result_of(served(SAME[:3], cluster, routing=affinity, encode_routing=affinity, chunking="none"))
    assert (result.jobs_reused, result.prefixes_reused) == (reused, reused)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(0, 5)), min_size=1, max_size=40),
    window_s=st.sampled_from([0.0, 1.0, 4.0, 100.0]),
)
def test_a_request_repeats_the_first_of_a_chain_of_alike_ones(
    pairs: list[tuple[int, int, int]], window_s: float
) -> None:
    requests = records(len(pairs), REQUEST)
    requests.images, requests.arrival_s = [each[0] for each in pairs], np.cumsum([each[2] for each in pairs])
    found = contents(np.array([each[1] for each in pairs]), requests, window_s)
    last: dict[tuple[int, int], tuple[float, int]] = {}
    for at, (images, context, _) in enumerate(pairs):
        now = float(requests.arrival_s[at])
        since, first = last.get((images, context), (-np.inf, at))
        first = first if images > 0 and window_s > 0 and now - since <= window_s else at
        assert found[at] == first
        last[images, context] = now, first


@pytest.mark.parametrize("name", ["repeat_window_s", "embedding_cache_tokens", "prefix_cache_tokens"])
def test_a_negative_size_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} of a cluster must be finite and not negative: -1"):
        replace(apart(), **{name: -1})  # type: ignore[arg-type]


def count_a_token_too_many(state: State) -> None:
    state.engines.cache_tokens[0] += 1


def shrink_the_cache(state: State) -> None:
    state.pools.cache_tokens[0] = 1


def forget_the_oldest(state: State) -> None:
    state.engines.oldest[0] = -1


def use_in_a_circle(state: State) -> None:
    state.cached.newer[state.engines.newest[0]] = state.engines.oldest[0]


def forget_a_content(state: State) -> None:
    state.progress.cached[0] = -1


@pytest.mark.parametrize(
    ("corrupt", "said"),
    [
        (count_a_token_too_many, "cache_tokens of instance 0 is 5121, not 5120"),
        (shrink_the_cache, "instance 0 keeps 5120 tokens, more than its cache holds"),
        (forget_the_oldest, "the order of use of instance 0 has 0 entries"),
        (use_in_a_circle, "the order of use of instance 0 has [0-9]{3,} entries"),
        (forget_a_content, "the list of content 0 has 0 entries"),
    ],
)
def test_a_cache_that_does_not_hold_what_its_lists_say_is_named(corrupt: Callable[[State], None], said: str) -> None:
    state = served(SAME, keeping(apart(DECODER_ONLY), embedding_cache_tokens=10**6)).state
    corrupt(state)
    with pytest.raises(CheckError, match=said):
        check(state)
