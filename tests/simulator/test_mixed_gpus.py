"""Pools of one cluster may have different GPUs: each costs what its own does, and stands on servers of its own."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.policies.bundle import PolicyChoice
from slackwise.simulator import Cluster, Configuration, Pool, Simulation
from slackwise.simulator.configuration_file import configuration_from, write_toml
from slackwise.streams import stream
from tests.simulator.cases import (
    CROSS_ATTENTION,
    DECODER_ONLY,
    GPU,
    OBJECTIVES,
    Shape,
    configuration,
    policies_of,
    random_trace,
    trace_of,
)
from tests.simulator.watched import Watched, differences

POOLS = (Pool("E", 2), Pool("E", 3, gpu="H200"), Pool("PD", 2, 4, gpu="H100"), Pool("PD", 1, 4))
MIXED = Cluster(DECODER_ONLY, GPU, POOLS)


def twins(**settings: object) -> Cluster:
    """Two monoliths alike but for their GPUs."""
    pools = Pool("EPD", 1, 4, most=2), Pool("EPD", 1, 4, gpu="H100", most=2)
    return replace(Cluster(DECODER_ONLY, GPU, pools), **settings)  # type: ignore[arg-type]


def test_each_pool_costs_what_its_own_gpu_does() -> None:
    for pool, gpu in zip(POOLS, (GPU, "H200", "H100", GPU), strict=True):
        assert MIXED.gpu_of(pool) == gpu
        alone = Cluster(DECODER_ONLY, gpu, MIXED.pools)
        assert MIXED.costs(pool).record == alone.costs(replace(pool, gpu=None)).record
    run = Simulation(trace_of([(0.0, 0, 500, 5)] * 2), configuration(twins(), routing="round_robin"), OBJECTIVES)
    run.run_until()
    assert run.state.progress.instance.tolist() == [0, 2]  # instances 1 and 3 may be started
    assert run.state.progress.finish_s[1] < run.state.progress.finish_s[0]


def test_a_server_holds_one_kind_of_gpu() -> None:
    assert MIXED.placed == (0, 0, 1, 1, 1, 2, 2, 0)
    assert replace(MIXED, servers=4, placement="spread").placed == (1, 1, 2, 2, 2, 3, 3, 0)
    assert twins().placed_most == (0, 0, 1, 1)
    with pytest.raises(InputError, match="on A100-80GB, H200, H100 need 3 servers of 8 GPUs, not 2"):
        replace(MIXED, servers=2)
    with pytest.raises(InputError, match="puts A100-80GB and H100 on server 0: a server has one kind"):
        twins(placement=((0,), (0,)))
    assert twins(placement=((1,), (0,))).placed == (1, 0)


def test_the_gpus_are_named_and_come_back_from_toml() -> None:
    assert MIXED.describe().startswith(
        f"{DECODER_ONLY} on 6 x {GPU} + 3 x H200 + 8 x H100: 2 x E TP-1 (vllm) + 3 x E TP-1 H200"
    )
    written = configuration(MIXED)
    assert configuration_from(tomllib.loads(write_toml(written)), DECODER_ONLY, GPU, 16) == written
    with pytest.raises(InputError, match="unknown GPU 'H300': did you mean"):
        Pool("E", 1, gpu="H300")


def changing() -> None:
    policies = policies_of(provisioning=PolicyChoice("queue_ratio_move"))
    Simulation(trace_of([(0.0, 0, 500, 5)]), Configuration("test", twins(), policies), OBJECTIVES)


def switching() -> None:
    Simulation(trace_of([(0.0, 0, 500, 5)]), configuration(twins()), OBJECTIVES).move(0, 1, 1.0)


@pytest.mark.parametrize(("act", "words"), [(changing, "one kind of GPU only"), (switching, "cannot become H100")])
def test_gpus_of_one_kind_never_become_those_of_another(act: Callable[[], None], words: str) -> None:
    with pytest.raises(InputError, match=words):
        act()


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(model=st.sampled_from([CROSS_ATTENTION, DECODER_ONLY]), apart=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_kernel_and_reference_agree_on_several_kinds_of_gpus(model: str, apart: bool, seed: int) -> None:
    cluster = replace(MIXED if apart else twins(), model=model, link="tcp")
    trace = random_trace(Shape(requests=30), stream(seed, "mixed GPUs"))
    run = Simulation(trace, configuration(cluster, chunking="per_image", routing="predicted_completion"), OBJECTIVES)
    reference = Watched(run)
    run.run_until(check=True)
    reference.run()
    assert differences(run, reference) == []
