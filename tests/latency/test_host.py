"""The engine that has the work of vLLM 0.7.2's host in its steps."""

from __future__ import annotations

import pytest

from slackwise.latency.catalogue import catalogue
from slackwise.latency.costs import StepCosts
from slackwise.latency.engine import load_engine
from slackwise.latency.gpu import gpus, load_gpu
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import load_model
from slackwise.latency.preprocess import tile_values
from slackwise.latency.roofline import roofline
from slackwise.latency.stages import prefill_seconds, seconds_of

LLAMA, INTERN, QWEN = (load_model(each) for each in ("Llama-3.2-11B", "InternVL2.5-26B", "Qwen2.5-VL-7B"))
A100 = load_gpu("A100-80GB")
SIZE = (896, 896)
DEGREES = (1, 2, 4, 8)


def costs(name: str, degree: int, engine: str) -> StepCosts:
    return roofline(load_model(name), A100, degree, engine)


@pytest.mark.parametrize("name", [LLAMA.name, INTERN.name, QWEN.name])
def test_pixels_cost_nothing_on_one_gpu_and_more_with_every_further_one(name: str) -> None:
    added = [
        float(costs(name, each, "vllm-0.7-host").record["encode_s_per_tile"])
        - float(costs(name, each, "vllm-0.7").record["encode_s_per_tile"])
        for each in DEGREES
    ]
    assert added[0] == 0
    size = 4 * tile_values(load_model(name), *SIZE)
    assert added[1:] == pytest.approx([size / 5.8e8 + further * size / 4.7e9 for further in (0, 2, 6)])


def test_what_the_encoder_is_handed() -> None:
    assert tile_values(LLAMA, 100, 100) == 3 * 560**2  # padded to a tile, whatever the image
    assert tile_values(INTERN, *SIZE) == 3 * 448**2
    assert tile_values(QWEN, *SIZE) == 2 * 3 * 896**2  # one tile, stored as two frames


@pytest.mark.parametrize("gpu", gpus())
def test_only_cross_attention_models_run_without_graphs(gpu: str) -> None:
    for model in (LLAMA, INTERN):
        host, plain = (
            seconds_of(roofline(model, load_gpu(gpu), 2, each), 8, 8192) for each in ("vllm-0.7-host", "vllm-0.7")
        )
        assert (host > 1.1 * plain) if model.cross_attention else (host == plain)


def test_its_layers_without_graphs_are_those_of_2023() -> None:
    then, host = catalogue("fitted.toml")["engines"]["vllm-2023"], load_engine("vllm-0.7-host")
    assert {name: host.eager_layer_s[name] for name in then["layer_s"]} == then["layer_s"]
    assert host.eager_peer_share == then["peer_share"]


def test_llama_encodes_best_on_four_gpus_and_prefills_best_on_eight() -> None:
    """ModServe (2025), 3.1. Without the host's work encode, too, is best on eight."""

    def best(engine: str) -> tuple[int, int]:
        found = {each: costs(LLAMA.name, each, engine) for each in DEGREES}
        encode = {each: seconds_of(found[each], tiles=image_tiles(LLAMA, *SIZE)) for each in DEGREES}
        prefill = {each: prefill_seconds(LLAMA, found[each], 1000, image_tokens(LLAMA, *SIZE)) for each in DEGREES}
        return min(encode, key=encode.__getitem__), min(prefill, key=prefill.__getitem__)

    assert best("vllm-0.7-host") == (4, 8)
    assert best("vllm-0.7") == (8, 8)
