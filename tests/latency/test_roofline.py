"""The roofline: what fits, what scales how, and what ModServe (2025) found about directions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.latency.costs import StepCosts, linear_seconds, step_seconds
from slackwise.latency.engine import load_engine
from slackwise.latency.gpu import gpus, load_gpu
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import load_model, models
from slackwise.latency.rates import rates
from slackwise.latency.roofline import encode_tiles, model_vision_work, roofline
from slackwise.latency.stages import seconds_of
from slackwise.latency.terms import encode_seconds

A100 = load_gpu("A100-80GB")
LLAMA = load_model("Llama-3.2-11B-Vision")


def image_seconds(costs: StepCosts, tiles: int) -> float:
    return float(step_seconds(costs.record, costs.linear_s, 0, 0, 0.0, tiles, False))


def prefill_seconds(costs: StepCosts, tokens: int) -> float:
    return float(step_seconds(costs.record, costs.linear_s, tokens, 0, tokens**2 / 2, 0, False))


@pytest.mark.parametrize("gpu", gpus())
@pytest.mark.parametrize("name", models())
def test_every_model_fits_eight_gpus_and_more_gpus_hold_more(name: str, gpu: str) -> None:
    costs = [roofline(load_model(name), load_gpu(gpu), 8, engine) for engine in ("vllm", "vllm-0.7")]
    assert all(each.kv_capacity_tokens > 100_000 and each.source for each in costs)
    assert all(np.all(np.diff(each.linear_s) > 0) and each.linear_s[0] == 0 for each in costs)


@pytest.mark.parametrize("name", ["Llama-3.2-90B-Vision", "NVLM-D-72B"])
def test_weights_that_do_not_fit_are_refused_with_needed_and_available_bytes(name: str) -> None:
    with pytest.raises(InputError, match=r"does not fit 1 x A100-80GB: weights need \d+\.\d GB a GPU, 69\.0 GB are"):
        roofline(load_model(name), A100, 1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"tensor_parallel": 3}, "tensor_parallel must be 1, 2, 4 or 8, not 3"),
        ({"tensor_parallel": 1, "encode": False, "llm": False}, "must hold the encoder"),
        ({"tensor_parallel": 1, "memory_utilization": 0.0}, "memory_utilization must be in"),
        ({"tensor_parallel": 1, "engine": "vlm"}, "unknown engine 'vlm': did you mean 'vllm'"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        roofline(LLAMA, A100, **arguments)  # type: ignore[arg-type]


def test_an_instance_costs_nothing_in_stages_that_it_lacks() -> None:
    encoder, llm = roofline(LLAMA, A100, 1, llm=False), roofline(LLAMA, A100, 1, encode=False)
    assert encoder.kv_capacity_tokens == 0
    assert encoder.record["step_s"] == 0
    assert llm.record["encode_s_per_tile"] == 0
    assert encoder.load_s < llm.load_s


def test_the_parts_of_a_monolith_cost_what_they_cost_apart() -> None:
    whole, encoder, llm = (
        roofline(LLAMA, A100, 2),
        roofline(LLAMA, A100, 2, llm=False),
        roofline(LLAMA, A100, 2, encode=False),
    )
    assert image_seconds(whole, 4) == image_seconds(encoder, 4)
    assert prefill_seconds(whole, 500) == prefill_seconds(llm, 500)
    assert whole.kv_capacity_tokens < llm.kv_capacity_tokens


def test_the_linear_table_goes_on_with_its_last_slope() -> None:
    costs = roofline(LLAMA, A100, 1)
    last = len(costs.linear_s) - 1
    beyond = linear_seconds(costs.record, costs.linear_s, last + 100)
    assert beyond == pytest.approx(costs.linear_s[last] + 100 * (costs.linear_s[last] - costs.linear_s[last - 1]))


def test_decode_is_linear_in_the_step_number() -> None:
    costs = roofline(LLAMA, A100, 1)
    steps = np.array([step_seconds(costs.record, costs.linear_s, 32, 32 * (1000 + k), 0.0, 0, False) for k in range(5)])
    assert np.diff(steps) == pytest.approx(np.full(4, 32 * costs.record["kv_s_per_token"]), rel=1e-6)


@pytest.mark.parametrize("gpu", ["A100-80GB", "H100"])
@pytest.mark.parametrize("name", models())
def test_encode_lies_on_a_line_wherever_all_reduces_are_of_one_kind(name: str, gpu: str) -> None:
    """On A100 those of 8 MiB and more are rings; Qwen3-VL turns at the second image, LLaVA at the fifth tile."""
    model, place = load_model(name), load_gpu(gpu)
    turns = gpu == "A100-80GB" and name.startswith(("Qwen3", "LLaVA"))
    for tensor_parallel in (1, 4, 8):
        costs = roofline(model, place, tensor_parallel, llm=False, image_size=(896, 896))
        tiles = encode_tiles(model, (896, 896))
        work, reached = model_vision_work(model, (896, 896), tensor_parallel), rates(place, load_engine("vllm"))
        line = np.array([image_seconds(costs, int(count)) for count in tiles])
        within = 0.2 if turns and tensor_parallel > 1 else 0.01
        assert np.abs(line / encode_seconds(work, reached, tiles) - 1).max() < within


def test_a_native_image_costs_more_when_it_is_larger() -> None:
    model = load_model("Qwen2.5-VL-7B")
    small, large = (image_seconds(roofline(model, A100, 1, image_size=(side, side)), 1) for side in (448, 1792))
    assert large > 10 * small


def test_text_only_steps_skip_cross_attention_layers() -> None:
    assert roofline(LLAMA, A100, 1).text_only_share == pytest.approx(0.8)
    assert roofline(load_model("Qwen3-VL-8B"), A100, 1).text_only_share == 1.0


class TestDirectionsOfModServe:
    """Section 3.1 of the paper; directions only."""

    def test_encode_is_linear_in_the_batch(self) -> None:
        costs = roofline(LLAMA, A100, 4)
        one, eight = image_seconds(costs, 4), image_seconds(costs, 32)
        assert 6.5 < eight / one < 8.01

    def test_internvit_takes_about_ten_times_siglip(self) -> None:
        small, large = load_model("LLaVA-OneVision-7B"), load_model("InternVL2.5-26B")
        seconds = [image_seconds(roofline(each, A100, 1), image_tiles(each, 896, 896)) for each in (small, large)]
        assert 6 < seconds[1] / seconds[0] < 14

    def test_llama_prefill_is_best_at_eight_gpus(self) -> None:
        seconds = [prefill_seconds(roofline(LLAMA, A100, tp), 1000) for tp in (1, 2, 4, 8)]
        assert seconds == sorted(seconds, reverse=True)

    def test_decoder_only_prefill_of_an_image_request_is_an_order_above_cross_attention(self) -> None:
        decoder = load_model("LLaVA-OneVision-7B")
        tokens = image_tokens(decoder, 896, 896) + 200
        cross = prefill_seconds(roofline(LLAMA, A100, 4), 250)
        assert 5 < prefill_seconds(roofline(decoder, A100, 4), tokens) / cross < 25

    def test_nvlm_encodes_a_third_faster_on_eight_gpus_than_on_four(self) -> None:
        model = load_model("NVLM-D-72B")
        four, eight = (image_seconds(roofline(model, A100, tp), 5) for tp in (4, 8))
        assert 1.15 < four / eight < 1.5

    def test_the_connector_is_below_half_a_percent_of_ttft(self) -> None:
        model = load_model("InternVL2.5-26B")
        whole, without = (
            image_seconds(roofline(replace(model, connector_params=params), A100, 4), 5)
            for params in (model.connector_params, 0)
        )
        ttft = whole + prefill_seconds(roofline(model, A100, 4), 1280 + 256)
        assert 0 < whole - without < 0.005 * ttft


def test_engine_overheads_are_known_for_every_gpu() -> None:
    assert all(
        load_engine(engine).layer_seconds(gpu) > 0 for engine in ("vllm", "vllm-0.7", "trtllm") for gpu in gpus()
    )


def test_every_further_gpu_makes_a_layer_slower_where_no_graph_hides_the_host() -> None:
    """Fitted to steps of 2023: eight GPUs decode no faster than four, though each reads half the weights."""
    overheads = [float(roofline(LLAMA, A100, tp, "vllm-2023").record["step_s"]) for tp in (1, 2, 4, 8)]
    assert overheads == sorted(overheads)
    assert overheads[3] > 1.4 * overheads[0]
    decodes = [seconds_of(roofline(LLAMA, A100, tp, "vllm-2023"), 32, 32 * 1024) for tp in (1, 4, 8)]
    assert decodes[1] < decodes[2] < decodes[0]


def jump(model: str, gpu: str, tensor_parallel: int, tokens: int) -> float:
    """How much more the step to `tokens` tokens costs than the one after it."""
    table = roofline(load_model(model), load_gpu(gpu), tensor_parallel).linear_s
    return float((table[tokens] - table[tokens - 1]) - (table[tokens + 1] - table[tokens]))


def test_all_reduces_from_8_mib_on_pay_the_steps_of_a_ring_on_gpus_whose_switch_cannot_sum() -> None:
    """8 MiB are 512 tokens of hidden size 8192 in bf16."""
    four, eight = (jump("LLaVA-OneVision-72B", "A100-80GB", tp, 512) for tp in (4, 8))
    assert eight / four == pytest.approx(7 / 3, rel=0.02)
    assert eight > 5e-3
    assert abs(jump("LLaVA-OneVision-72B", "A100-80GB", 8, 500)) < 1e-5
    assert abs(jump("LLaVA-OneVision-72B", "H100", 8, 512)) < 1e-5


def test_a_single_gpu_reduces_nothing() -> None:
    assert abs(jump("Qwen3-VL-8B", "A100-80GB", 1, 1024)) < 1e-5
