"""Packing onto servers: TP groups stay whole, a plan that does not fit is one line, near transfers are quick."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.latency.model import load_model
from slackwise.latency.transfer import transfer_seconds
from slackwise.simulator import Cluster, Pool, Simulation, preset
from slackwise.simulator.placement import PLACEMENTS, SERVER_GPUS, place
from tests.simulator.cases import DECODER_ONLY, GPU, OBJECTIVES, apart, configuration, trace_of


def of(*pools: Pool, **settings: object) -> Cluster:
    """A cluster of these pools."""
    return replace(Cluster(DECODER_ONLY, GPU, pools), **settings)  # type: ignore[arg-type]


@given(
    sizes=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=40),
    rule=st.sampled_from(list(PLACEMENTS)),
    spare=st.integers(0, 3),
    only=st.integers(0, 2**40),
)
def test_no_server_holds_more_than_its_gpus_and_no_server_more_is_used_than_needed(
    sizes: list[int], rule: str, spare: int, only: int
) -> None:
    encoders, needed = [bool(only >> at & 1) for at in range(len(sizes))], -(-sum(sizes) // SERVER_GPUS)
    placed = place(sizes, encoders, rule, needed + spare, SERVER_GPUS)
    used: Counter[int] = Counter()
    for server, size in zip(placed, sizes, strict=True):
        used[server] += size
    assert max(used.values()) <= SERVER_GPUS
    assert max(placed) < needed + spare
    assert max(place(sizes, encoders, rule, None, SERVER_GPUS)) < needed
    if needed > 1:
        with pytest.raises(InputError, match=f"need {needed} servers of 8 GPUs, not {needed - 1}"):
            place(sizes, encoders, rule, needed - 1, SERVER_GPUS)


def test_a_plan_that_does_not_pack_is_one_line_with_the_servers_it_needs() -> None:
    with pytest.raises(InputError, match=r"^3 x TP-4 \+ 2 x TP-8 need 4 servers of 8 GPUs, not 3$"):
        of(Pool("EP", 3, 4), Pool("D", 2, 8), servers=3)
    assert max(of(Pool("EP", 3, 4), Pool("D", 2, 8), servers=4).placed) == 3


def test_encoders_fill_what_text_instances_leave_free() -> None:
    pools = Pool("E", 4), Pool("PD", 3, 4)
    assert of(*pools).placed == (1, 1, 1, 1, 0, 0, 1)
    assert of(*pools, servers=3, placement="spread").placed == (0, 1, 2, 0, 0, 1, 2)
    assert of(*pools, placement=((5, 5, 5, 5), (0, 2, 2))).placed == (5, 5, 5, 5, 0, 2, 2)


def test_modserve_on_128_gpus_takes_its_16_servers() -> None:
    packed = preset("modserve", DECODER_ONLY, gpus=128).cluster
    spread = replace(packed, placement="spread")
    assert max(packed.placed) == max(spread.placed) == 15
    text = [set(cluster.placed[48:]) for cluster in (packed, spread)]
    assert [len(each) for each in text] == [10, 16]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"placement": "pact"}, "unknown placement 'pact': did you mean 'packed'"),
        ({"placement": ((0, 0), (0,))}, r"servers for \[2, 1\] instances of the pools, which have \[4, 2\]"),
        ({"placement": ((0, 0, 0, 0), (0, 0))}, "12 GPUs on server 0, which has 8"),
        ({"placement": ((0, 0, 0, 0), (1, 2)), "servers": 2}, "names server 2: servers are numbered from 0 to 1"),
        ({"placement": ((0, 0, 0, -1), (1, 2))}, "names server -1: servers are numbered from 0 up"),
        ({"server_gpus": 2}, "an instance of 4 GPUs does not fit a server of 2"),
        ({"servers": 0}, "servers of a cluster must be at least 1, not 0"),
    ],
)
def test_a_bad_placement_is_named_with_its_fault(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        of(Pool("E", 4), Pool("PD", 2, 4), **settings)


def moved_s(cluster: Cluster, images: int = 2, **names: str) -> tuple[float, int]:
    """Seconds from the last image encoded to the step that prefills, and the request's image tokens."""
    run = Simulation(trace_of([(0.0, images, 50, 1)]), configuration(cluster, **names), OBJECTIVES)
    while run.state.instances.running[-1] == 0:
        run.run_until(float(np.nextafter(min(run.state.engines.step_end_s.min(), _delivery_s(run)), np.inf)))
    start_s = float(run.state.engines.step_start_s[-1])
    return start_s - float(run.state.progress.encoded_s[0]), int(run.state.requests.image_tokens[0])


def _delivery_s(run: Simulation) -> float:
    clock = run.state.clock[0]
    arrival = 0.0 if clock.next_arrival == 0 else np.inf
    return min(arrival, float(run.state.transfers.key[0]) if clock.transfers else np.inf)


@pytest.mark.parametrize(
    ("servers", "link"),
    [(((0, 0), (0,)), "nvlink"), (((1, 1), (0,)), "tcp"), (((0, 1), (0,)), "tcp")],
)
def test_embeddings_go_by_nvlink_only_if_all_encoders_stand_on_the_server(
    servers: tuple[tuple[int, ...], ...], link: str
) -> None:
    cluster = replace(apart(DECODER_ONLY, encoders=2), link="tcp", placement=servers)
    seconds, tokens = moved_s(cluster, chunking="per_image")
    assert seconds == pytest.approx(float(transfer_seconds(load_model(DECODER_ONLY), tokens, link)), rel=1e-9)


def test_a_kv_cache_goes_by_nvlink_within_a_server_and_every_gpu_of_its_source_sends_its_part() -> None:
    kv_bytes, finish = load_model(DECODER_ONLY).language.kv_bytes_per_token, {}
    for parallel, where in ((4, ((0,), (0,))), (4, ((0,), (1,))), (2, ((0,), (1,)))):
        cluster = of(Pool("EP", 1, parallel), Pool("D", 1, 4), link="tcp", placement=where)
        run = Simulation(trace_of([(0.0, 0, 1000, 2)]), configuration(cluster), OBJECTIVES)
        run.run_until()
        step_s = float(run.state.engines.busy_s[1])
        finish[parallel, where[1]] = float(
            run.state.progress.finish_s[0] - run.state.progress.first_token_s[0] - step_s
        )
    assert finish[4, (0,)] == pytest.approx(10e-6 + 1000 * kv_bytes / (240e9 * 4), rel=1e-6)
    assert finish[4, (1,)] == pytest.approx(0.2e-3 + 1000 * kv_bytes / (1e9 * 4), rel=1e-9)
    assert finish[2, (1,)] == pytest.approx(0.2e-3 + 1000 * kv_bytes / (1e9 * 2), rel=1e-9)
