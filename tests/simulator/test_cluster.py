"""Clusters and engine rules: what is refused, and how it is said."""

from __future__ import annotations

import pytest

from slackwise.errors import InputError
from slackwise.latency.rules import RULES, load_rules
from slackwise.simulator import Cluster, Pool
from tests.simulator.cases import DECODER_ONLY, GPU, apart, monolith


def test_a_cluster_without_a_decode_stage_is_refused() -> None:
    with pytest.raises(InputError, match=r"needs a decode stage: its pools are E$"):
        Cluster(DECODER_ONLY, GPU, (Pool("E", 1),))
    with pytest.raises(InputError, match="needs a decode stage: its pools are none"):
        Cluster(DECODER_ONLY, GPU, ())


def test_an_unknown_topology_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"topology E\+EPD is not supported; known: monolith, E\+PD"):
        Cluster(DECODER_ONLY, GPU, (Pool("E", 1), Pool("EPD", 1, 4)))
    with pytest.raises(InputError, match="each stage is done by one kind of instance"):
        Cluster(DECODER_ONLY, GPU, (Pool("EP", 1, 4), Pool("PD", 1, 4)))


def test_pools_may_be_listed_in_any_order() -> None:
    encoders, small, large = Pool("E", 2), Pool("PD", 1, 4), Pool("PD", 1, 8)
    mixed = Cluster(DECODER_ONLY, GPU, (small, encoders, large), placement=((0,), (0, 0), (1,)))
    assert mixed == Cluster(DECODER_ONLY, GPU, (encoders, small, large), placement=((0, 0), (0,), (1,)))
    assert (mixed.topology, mixed.placed) == ("E+PD", (0, 0, 0, 1))


def test_a_pool_names_what_it_does_not_know() -> None:
    with pytest.raises(InputError, match="unknown kind of instance 'DP': did you mean 'P'"):
        Pool("DP", 1)
    with pytest.raises(InputError, match=r"unknown engine 'vllm-0.8': did you mean 'vllm-0.7'"):
        Pool("EPD", 1, 4, "vllm-0.8")
    with pytest.raises(InputError, match="needs at least 1 instance, not 0"):
        Pool("EPD", 0)


def test_a_model_that_does_not_fit_its_gpus_names_the_bytes() -> None:
    cluster = Cluster("Llama-3.2-90B-Vision", GPU, (Pool("EPD", 1, 1),))
    with pytest.raises(InputError, match=r"does not fit.*GB"):
        cluster.costs(cluster.pools[0])


def test_unknown_models_and_gpus_name_the_closest() -> None:
    with pytest.raises(InputError, match=r"did you mean 'InternVL2\.5-26B'"):
        Cluster("InternVL2.5-25B", GPU, monolith().pools).costs(monolith().pools[0])
    with pytest.raises(InputError, match="did you mean 'H200'"):
        Cluster(DECODER_ONLY, "H300", monolith().pools).costs(monolith().pools[0])


def test_a_cluster_counts_its_gpus_and_names_its_topology() -> None:
    cluster = apart(DECODER_ONLY, encoders=6, llms=2)
    assert (cluster.gpus, cluster.topology, monolith().topology) == (14, "E+PD", "monolith")
    words = "InternVL2.5-26B on 14 x A100-80GB: 6 x E TP-1 (transformers) + 2 x PD TP-4 (vllm)"
    assert cluster.describe() == words


def test_stages_that_an_instance_lacks_cost_and_hold_nothing() -> None:
    cluster = apart(DECODER_ONLY)
    encoder, llm = (cluster.costs(pool) for pool in cluster.pools)
    assert encoder.kv_capacity_tokens == 0 < llm.kv_capacity_tokens
    assert encoder.record["encode_s_per_tile"] > 0 == llm.record["encode_s_per_tile"]


def test_engine_rules_say_where_they_are_from() -> None:
    assert all(load_rules(name).source for name in RULES)
    assert [name for name in RULES if load_rules(name).prefill_first] == ["vllm-0.7", "vllm-0.7-host"]
