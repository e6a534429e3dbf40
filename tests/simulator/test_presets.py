"""Presets: the baselines that everything is compared with."""

from __future__ import annotations

import pytest

from slackwise.errors import InputError
from slackwise.simulator import PRESETS, disaggregated, preset
from tests.simulator.cases import CROSS_ATTENTION, DECODER_ONLY, GPU


def test_modserve_on_128_gpus_has_the_fleet_of_the_paper() -> None:
    encoders, llms = preset("modserve", DECODER_ONLY, gpus=128).cluster.pools
    assert (encoders.stages, encoders.instances, encoders.tensor_parallel) == ("E", 48, 1)
    assert (llms.stages, llms.instances, llms.tensor_parallel) == ("PD", 20, 4)
    assert (encoders.engine, llms.engine) == ("transformers", "vllm-0.7")


@pytest.mark.parametrize(("gpus", "encoders", "llms"), [(16, 8, 2), (8, 4, 1), (5, 1, 1), (64, 24, 10)])
def test_smaller_fleets_keep_the_ratio(gpus: int, encoders: int, llms: int) -> None:
    pools = disaggregated(DECODER_ONLY, GPU, gpus).pools
    assert [pool.instances for pool in pools] == [encoders, llms]
    assert sum(pool.gpus for pool in pools) == gpus


def test_the_number_of_text_instances_can_be_chosen() -> None:
    pools = disaggregated(DECODER_ONLY, GPU, 16, text_instances=3, engine="vllm", encoder="vllm").pools
    assert [(pool.instances, pool.engine) for pool in pools] == [(4, "vllm"), (3, "vllm")]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("gpus", [16, 128])
def test_every_preset_takes_all_the_gpus_it_is_given(name: str, gpus: int) -> None:
    configuration = preset(name, CROSS_ATTENTION, gpus=gpus)
    assert configuration.cluster.gpus == gpus
    assert configuration.name == name


def test_modserve_routes_text_by_what_fills_the_model() -> None:
    routing = {name: preset("modserve", name).policies.routing.name for name in (CROSS_ATTENTION, DECODER_ONLY)}
    assert routing == {CROSS_ATTENTION: "least_text_tokens", DECODER_ONLY: "least_total_tokens"}


def test_the_rules_of_the_baselines_differ_as_their_engines_do() -> None:
    today, then = (preset(name, CROSS_ATTENTION).cluster.pools[0].rules for name in ("vllm", "vllm-0.7"))
    assert (today.prefill_first, then.prefill_first) == (False, True)
    assert today.max_step_tokens < then.max_step_tokens
    assert (today.watermark, then.watermark) == (0.0, 0.01)


def test_fleets_that_do_not_divide_and_unknown_presets_are_refused() -> None:
    with pytest.raises(InputError, match="4 GPUs each: 6 GPUs is not a multiple"):
        preset("vllm", CROSS_ATTENTION, gpus=6)
    with pytest.raises(InputError, match="4 GPUs leave no encoder beside 1 text instances"):
        preset("modserve", CROSS_ATTENTION, gpus=4)
    with pytest.raises(InputError, match="unknown configuration 'mod-serve': did you mean 'modserve'"):
        preset("mod-serve", CROSS_ATTENTION)
