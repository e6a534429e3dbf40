"""From a trace to requests: text part, images of the model, estimates, and nothing of the true output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import load_model
from slackwise.policies.features import IMAGE, INSTANCE, OUTPUT_ESTIMATE_TOKENS, REQUEST, TEXT
from slackwise.simulator import Cluster, Simulation
from slackwise.simulator.state import CLASSES
from slackwise.simulator.workload import IMAGE_SIZES, MAX_IMAGES, text_tokens, workload
from slackwise.traces import Trace
from tests.simulator.cases import CROSS_ATTENTION, DECODER_ONLY, OBJECTIVES, apart, configuration, monolith, trace_of


def requests_of(trace: Trace, cluster: Cluster) -> Any:
    """What policies see of the trace's requests at arrival."""
    costs = tuple(cluster.costs(pool) for pool in cluster.pools)
    return workload(trace, cluster, costs, OBJECTIVES).requests


@pytest.mark.parametrize(
    ("images", "context", "text"),
    [
        (0, 1000, 1000),
        (0, 0, 1),
        (1, 800, 800 - 765),  # the largest size below the context: 765, since 1105 does not fit
        (1, 85, 85),  # an image of 85 tokens would leave no text
        (1, 86, 1),
        (2, 1600, 1600 - 2 * 765),
        (3, 5000, 5000 - 3 * 1445),
        (4, 100, 100),  # 25 tokens an image: smaller than any size
    ],
)
def test_the_text_part_is_what_the_largest_image_size_that_fits_leaves(images: int, context: int, text: int) -> None:
    assert text_tokens(trace_of([(0.0, images, context, 1)])).tolist() == [text]
    assert text_tokens(trace_of([(0.0, images, context, 1)]), "keep").tolist() == [max(1, context)]


@settings(deadline=None, derandomize=True)
@given(images=st.integers(0, 50), context=st.integers(0, 100_000))
def test_text_and_images_of_one_size_make_up_the_context(images: int, context: int) -> None:
    text = int(text_tokens(trace_of([(0.0, images, context, 1)]))[0])
    assert 1 <= text <= max(1, context)
    assert text == max(1, context) or (context - text) / images in IMAGE_SIZES


def test_an_unknown_reading_of_the_context_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="did you mean 'subtract'"):
        text_tokens(trace_of([(0.0, 1, 1, 1)]), "substract")


@pytest.mark.parametrize("name", [CROSS_ATTENTION, DECODER_ONLY, "LLaVA-OneVision-7B", "Qwen2.5-VL-7B"])
def test_images_have_the_tokens_and_tiles_of_the_model(name: str) -> None:
    model, rows = load_model(name), [(0.0, count, 3000, 1) for count in (0, 1, 2, 5)]
    requests = requests_of(trace_of(rows), monolith(name))
    for request, count in zip(requests, (0, 1, 2, 5), strict=True):
        expected = (image_tokens(model, 896, 896, count), image_tiles(model, 896, 896, count)) if count else (0, 0)
        assert (request.tokens_per_image, request.tiles_per_image) == expected
        assert request.image_tokens == count * expected[0]
        inside = 0 if model.cross_attention else request.image_tokens
        assert request.prompt_tokens == request.prompt_tokens_left == request.text_tokens + inside
        assert request.modality == (IMAGE if count else TEXT)


def test_the_image_size_of_the_cluster_counts() -> None:
    small = Cluster(DECODER_ONLY, "A100-80GB", monolith(DECODER_ONLY).pools, image_size=(448, 448))
    rows = trace_of([(0.0, 1, 3000, 1)])
    assert requests_of(rows, small).image_tokens < requests_of(rows, monolith(DECODER_ONLY)).image_tokens


@pytest.mark.parametrize("cluster", [monolith(), apart(), monolith(DECODER_ONLY), apart(DECODER_ONLY)], ids=str)
def test_estimates_are_positive_where_there_is_work_and_grow_with_it(cluster: Cluster) -> None:
    rows = [(0.0, 0, 100, 1), (0.0, 0, 9000, 1), (0.0, 1, 3000, 1), (0.0, 8, 24000, 1)]
    requests = requests_of(trace_of(rows), cluster)
    separate = len(cluster.pools) == 2
    assert (requests.prefill_estimate_s > 0).all()
    assert requests.prefill_estimate_s[0] < requests.prefill_estimate_s[1]
    assert (requests.encode_estimate_s[:2] == 0).all()
    assert requests.encode_estimate_s[3] == pytest.approx(8 * requests.encode_estimate_s[2])
    assert (requests.transfer_estimate_s > 0).tolist() == [False, False, separate, separate]
    assert (requests.output_estimate_tokens == [OUTPUT_ESTIMATE_TOKENS[each] for each in requests.modality]).all()
    assert (requests.estimate_sigma == 0).all()


def test_the_prefill_estimate_is_that_of_the_prompt_alone_in_one_step() -> None:
    run = Simulation(trace_of([(0.0, 0, 500, 1)]), configuration(monolith(DECODER_ONLY)), OBJECTIVES)
    estimate_s = float(run.state.requests.prefill_estimate_s[0])
    run.run_until()
    assert run.state.progress.finish_s[0] == pytest.approx(estimate_s, rel=1e-12)
    assert run.state.requests.prefill_estimate_s[0] == 0  # nothing is left of it


def test_deadlines_are_arrival_plus_the_objective_of_the_modality() -> None:
    requests = requests_of(trace_of([(1.0, 0, 100, 1), (2.0, 3, 3000, 1)]), monolith())
    assert requests.deadline_s.tolist() == [1.0 + OBJECTIVES.text_ttft_s, 2.0 + OBJECTIVES.image_ttft_s]


def test_classes_part_text_images_and_many_images() -> None:
    run = Simulation(trace_of([(0.0, each, 9000, 1) for each in (0, 1, 9, 10)]), configuration(monolith()), OBJECTIVES)
    assert [CLASSES[each] for each in run.category] == ["text-only", "image", "image", "image-heavy"]


def test_policies_see_nothing_of_the_true_output() -> None:
    told = [name for name in (*(REQUEST.names or ()), *(INSTANCE.names or ())) if "output" in name]
    assert told == ["output_estimate_tokens"]
    short, long = ([(0.1 * at, at % 3, 2000, output) for at in range(20)] for output in (1, 900))
    for cluster in (monolith(), apart(DECODER_ONLY)):
        assert requests_of(trace_of(short), cluster).tobytes() == requests_of(trace_of(long), cluster).tobytes()


def test_an_empty_trace_is_refused() -> None:
    empty = trace_of([(0.0, 0, 1, 1)]).take(slice(0, 0))
    with pytest.raises(InputError, match="no request in the window"):
        Simulation(empty, configuration(monolith()), OBJECTIVES)


def test_more_images_than_can_be_numbered_are_refused() -> None:
    with pytest.raises(InputError, match=f"{MAX_IMAGES + 1} images; at most {MAX_IMAGES}"):
        Simulation(trace_of([(0.0, MAX_IMAGES + 1, 1, 1)]), configuration(monolith()), OBJECTIVES)


def test_requests_too_large_for_the_kv_cache_are_rejected_and_the_rest_is_served() -> None:
    rows = [(0.0, 0, 100, 2), (0.1, 0, 30_000_000, 2), (0.2, 0, 100, 30_000_000), (0.3, 1, 100, 2)]
    run = Simulation(trace_of(rows), configuration(monolith()), OBJECTIVES)
    assert run.rejected.tolist() == [False, True, True, False]
    run.run_until()
    assert run.done
    assert run.state.requests.id.tolist() == [0, 1]
    assert (~np.isnan(run.state.progress.finish_s)).all()
    with pytest.raises(InputError, match="no request of the trace fits the KV cache"):
        Simulation(trace_of(rows[1:3]), configuration(monolith()), OBJECTIVES)


def test_a_request_that_just_fits_the_kv_cache_is_served_to_its_end() -> None:
    capacity = int(
        Simulation(trace_of([(0, 0, 1, 1)]), configuration(monolith()), OBJECTIVES).costs[0].kv_capacity_tokens
    )
    for engine, usable in (("vllm", capacity), ("vllm-0.7", capacity - int(np.ceil(0.01 * capacity)))):
        rows = [(0.0, 0, 100, usable - 100), (0.0, 0, 100, usable - 99)]
        run = Simulation(trace_of(rows), configuration(monolith(engine=engine)), OBJECTIVES)
        assert run.rejected.tolist() == [False, True]
        run.run_until()
        assert run.done


@pytest.mark.parametrize("model", [CROSS_ATTENTION, DECODER_ONLY])
def test_requests_filled_in_few_at_a_time_are_those_filled_in_at_once(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = trace_of([(0.1 * at, at % 5, 200 * at, 1 + at % 7) for at in range(50)])
    whole = requests_of(trace, apart(model))
    monkeypatch.setattr("slackwise.simulator.workload.ROWS", 7)
    assert requests_of(trace, apart(model)).tobytes() == whole.tobytes()
    assert whole.id.tolist() == list(range(50))
