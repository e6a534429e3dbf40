"""Provisioning policies give each pool its target, by their formulas, worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from slackwise.policies import find
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.knobs import Value
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, Rates, lot, may_give

IMAGE = PoolView("E", ENCODE, 1, configured=6, ready=3, most=20, gpu_cap=16, capacity_tokens_per_s=1000.0)
TEXT = PoolView("PD", PREFILL | DECODE, 4, configured=2, ready=2, most=4, gpu_cap=16, capacity_tokens_per_s=500.0)


def ask(name: str, pools: Sequence[PoolView], now: float = 0.0, memory: Memory = (), **knobs: Value) -> Plan:
    policy = find("provisioning", name)
    plan: Plan = policy.function(pools, now, policy.params(**knobs), memory)
    return plan


def loaded(image_tokens_per_s: float, text_tokens_per_s: float, window_s: float = 3600.0) -> tuple[PoolView, PoolView]:
    """Both pools under these loads, the text pool of a cross-attention model."""
    rates = (Rates(window_s, 2.0, 1.0, 3.0, text_tokens_per_s, image_tokens_per_s),)
    return replace(IMAGE, rates=rates), replace(TEXT, rates=rates, images_in_prompt=False)


def test_fixed_ratio_keeps_what_the_cluster_was_set_up_with() -> None:
    assert ask("fixed_ratio", (IMAGE, TEXT)).targets == (6, 2)


def test_fixed_ratio_of_the_paper_is_20_text_and_48_image_instances() -> None:
    assert ask("fixed_ratio", (IMAGE, TEXT), text=20, image=48).targets == (48, 20)
    assert ask("fixed_ratio", (IMAGE, TEXT), image=48).targets == (48, 2)


@pytest.mark.parametrize(
    ("stages", "inside", "tokens"),
    [
        (ENCODE, True, 300.0),
        (PREFILL | DECODE, True, 500.0),
        (PREFILL | DECODE, False, 200.0),
        (PREFILL, False, 200.0),
        (DECODE, True, 50.0),
        (ENCODE | DECODE, True, 350.0),
        (ENCODE | PREFILL | DECODE, False, 500.0),
    ],
)
def test_the_load_of_a_pool_is_what_its_stages_compute(stages: int, inside: bool, tokens: float) -> None:
    rates = Rates(60.0, text_tokens_per_s=200.0, image_tokens_per_s=300.0, output_tokens_per_s=50.0)
    assert PoolView("any", stages, 1, 1, images_in_prompt=inside).load_tokens_per_s(rates) == tokens


def test_rates_are_those_of_the_shortest_window_that_is_long_enough() -> None:
    pool = replace(IMAGE, rates=tuple(Rates(window_s) for window_s in (60.0, 300.0, 3600.0)))
    assert [pool.rates_over(each).window_s for each in (0.0, 60.0, 61.0, 9999.0)] == [60.0, 60.0, 300.0, 3600.0]
    assert IMAGE.rates_over(77.0) == Rates(77.0)


def test_modserve_init_sizes_once_from_medians() -> None:
    rates = (Rates(600.0, median_images_per_s=9.0, median_images=2.0),)
    pools = (replace(IMAGE, encode_s=0.5, rates=rates), replace(TEXT, rates=rates))
    first = ask("modserve_init", pools, now=100.0, history_s=600.0)
    assert first == Plan((6, 2), (100.0,))
    early = ask("modserve_init", pools, now=699.0, memory=first.memory, history_s=600.0)
    assert early.targets == (6, 2)
    sized = ask("modserve_init", pools, now=700.0, memory=early.memory, history_s=600.0)
    assert sized.targets == (5, 3)  # ceil(9 * 0.5), ceil(5 / 2)
    later = (replace(pools[0], encode_s=5.0), pools[1])
    assert ask("modserve_init", later, now=9999.0, memory=sized.memory, history_s=600.0) == sized


def test_modserve_init_leaves_monoliths_as_they_are() -> None:
    monolith = PoolView("EPD", ENCODE | PREFILL | DECODE, 4, configured=3, ready=3)
    assert ask("modserve_init", (monolith,), now=9e9, memory=(0.0,)).targets == (3,)


def test_modserve_ceil_sizes_each_pool_by_load_over_capacity_once_a_period() -> None:
    pools = loaded(2500.0, 1600.0)
    began = ask("modserve_ceil", pools, now=10.0)
    assert began == Plan((3, 2), (10.0,))
    assert ask("modserve_ceil", pools, now=300.0, memory=began.memory) == began
    assert ask("modserve_ceil", pools, now=310.0, memory=began.memory) == Plan((3, 4), (310.0,))
    assert ask("modserve_ceil", pools, now=310.0, memory=began.memory, headroom=1.25).targets == (4, 4)


def test_modserve_ceil_reacts_at_once_to_missed_objectives_and_only_upwards() -> None:
    minute = Rates(60.0, image_tokens_per_s=4500.0, text_tokens_per_s=100.0)
    quiet = [replace(pool, rates=(minute, *pool.rates)) for pool in loaded(500.0, 100.0)]
    late = [replace(pool, ttft_attainment=0.98) for pool in quiet]
    assert ask("modserve_ceil", quiet, now=20.0, memory=(10.0,)).targets == (3, 2)
    assert ask("modserve_ceil", late, now=20.0, memory=(10.0,)) == Plan((5, 2), (10.0,))
    assert ask("modserve_ceil", late, now=20.0, memory=(10.0,), attainment=0.97).targets == (3, 2)
    slow = [replace(pool, tbt_attainment=0.5) for pool in quiet]
    assert ask("modserve_ceil", slow, now=20.0, memory=(10.0,)).targets == (5, 2)


def test_a_lot_is_the_fewest_instances_on_the_same_gpus() -> None:
    assert (lot(IMAGE, TEXT), lot(TEXT, IMAGE)) == ((4, 1), (1, 4))
    assert lot(replace(IMAGE, gpus_per_instance=6), TEXT) == (2, 3)
    assert not may_give(IMAGE, TEXT)  # 3 ready, 4 needed
    assert not may_give(replace(IMAGE, ready=4), TEXT)  # one has to stay
    assert may_give(replace(IMAGE, ready=5), TEXT)
    assert not may_give(replace(IMAGE, ready=5), replace(TEXT, most=2))


def test_queue_ratio_move_feeds_the_longest_queue_unless_the_others_are_half_as_long() -> None:
    images, texts = replace(IMAGE, ready=8, waiting=4), replace(TEXT, waiting=9)
    assert ask("queue_ratio_move", (images, texts)) == Plan((4, 3), switch_s=5.0)
    assert ask("queue_ratio_move", (replace(images, waiting=5), texts)).targets == (8, 2)
    assert ask("queue_ratio_move", (images, texts), rho=0.4).targets == (8, 2)
    assert ask("queue_ratio_move", (replace(images, waiting=0), replace(texts, waiting=0))).targets == (8, 2)
    assert ask("queue_ratio_move", (replace(images, waiting=20), texts)).targets == (12, 1)


def test_queue_ratio_move_waits_for_the_move_before() -> None:
    images, texts = replace(IMAGE, ready=8), replace(TEXT, waiting=9, starting=1)
    assert ask("queue_ratio_move", (images, texts)).targets == (8, 3)


def test_queue_ratio_move_is_asked_as_often_as_its_knob_says() -> None:
    policy = find("provisioning", "queue_ratio_move")
    assert policy.interval_s(policy.params()) == 5.0
    assert policy.interval_s(policy.params(period_s=2.0)) == 2.0
    assert find("provisioning", "horizontal_autoscaler").interval_s(policy.params()) == 15.0


def test_burst_tolerance_gives_each_spare_instance_to_the_pool_of_lowest_tolerance() -> None:
    # 16 GPUs; BT_E(n) = n / 2, BT_PD(n) = n: E 2, E 3 (tie: the first), PD 2, E 4, E 5, then PD no longer fits
    assert ask("burst_tolerance", loaded(2000.0, 500.0)).targets == (8, 2)
    assert ask("burst_tolerance", loaded(2000.0, 2000.0)).targets == (4, 3)
    assert ask("burst_tolerance", loaded(8000.0, 10.0)).targets == (12, 1)
    assert ask("burst_tolerance", loaded(0.0, 500.0)).targets == (4, 3)
    assert ask("burst_tolerance", loaded(0.0, 0.0)).targets == (3, 2)  # no load: nothing to say


def test_burst_tolerance_is_even_under_its_own_allocation() -> None:
    pools = [replace(pool, gpu_cap=40, most=40) for pool in loaded(6000.0, 2000.0)]
    images, texts = ask("burst_tolerance", pools).targets
    assert images + 4 * texts == 40
    tolerance = images / 6, texts / 4
    assert abs(tolerance[0] - tolerance[1]) <= 1 / 4


def test_gain_cost_moves_when_those_who_wait_gain_more_than_the_others_lose() -> None:
    # T_PD(1) = 2000 / 500 = 4 s, T_PD(2) = 2 s: gain = 2 s * 0.0035 * sum of 0.5^h, h < 2, = 0.0105
    texts = replace(TEXT, ready=1, pending_tokens=2000.0, inverse_tokens=0.0035)
    # T_E(8) = 0.5 s, T_E(4) = 1 s: cost = (0.1 + w * 0.5) * inverse
    images = replace(IMAGE, ready=8, pending_tokens=4000.0, inverse_tokens=0.09)

    def targets(images: PoolView, w: float = 0.0, rounds: int = 2) -> tuple[int, ...]:
        return ask("gain_cost", (images, texts), w=w, rounds=rounds, discount=0.5).targets

    assert targets(images) == (4, 2)  # 0.0105 > 0.009
    assert targets(images, w=0.05) == (8, 1)  # 0.0105 < 0.01125
    assert targets(images, rounds=1) == (8, 1)  # 0.007 < 0.009
    assert targets(replace(images, draining=1)) == (8, 1)  # the move before is not over


def test_rate_match_sweep_finds_the_ratio_of_most_requests_a_gpu_and_fills_the_gpus() -> None:
    # 3 requests/s bring 3000 image and 1500 text tokens: an encoder serves 1 * 0.9, a text instance 1 * 0.9 requests/s,
    # so that one of each serves 0.9 on 5 GPUs; three such units fit 16 GPUs
    assert ask("rate_match_sweep", loaded(3000.0, 1500.0)).targets == (3, 3)
    # encoders half as fast: two for each text instance, 0.9 on 6 GPUs
    assert ask("rate_match_sweep", loaded(6000.0, 1500.0)).targets == (4, 2)
    # encoders at 0.8: 4 and 3 serve 2.7 on 16 GPUs, 0.169 a GPU, one of each only 0.16
    assert ask("rate_match_sweep", loaded(3000.0, 1500.0), f_encode=0.8).targets == (4, 3)
    assert ask("rate_match_sweep", loaded(0.0, 0.0)).targets == (3, 2)


def hpa(pool: PoolView, now: float = 0.0, memory: Memory = (), **knobs: Value) -> tuple[int, Memory]:
    plan = ask("horizontal_autoscaler", (pool,), now, memory, **knobs)
    return plan.targets[0], plan.memory


def test_the_autoscaler_holds_the_metric_at_its_target_within_the_tolerance() -> None:
    four = replace(IMAGE, ready=4)
    assert hpa(replace(four, utilisation=0.87))[0] == 4  # 1.0875 of the target: within 0.1
    assert hpa(replace(four, utilisation=0.9))[0] == 5  # ceil(4 * 0.9 / 0.8 = 4.5)
    assert hpa(replace(four, utilisation=0.9), tolerance=0.2)[0] == 4
    assert hpa(replace(four, utilisation=0.3), down_s=0.0)[0] == 2  # ceil(1.5)
    assert hpa(replace(four, utilisation=0.0), down_s=0.0)[0] == 1
    assert hpa(replace(four, waiting=60, running=4), metric="requests")[0] == 8  # 16 instead of 8 an instance: doubled


def test_the_autoscaler_at_most_doubles_or_adds_four() -> None:
    assert hpa(replace(IMAGE, ready=1, waiting=1000), metric="requests")[0] == 5
    assert hpa(replace(IMAGE, ready=7, waiting=1000), metric="requests")[0] == 14


def test_the_autoscaler_counts_what_loads_as_without_load_on_the_way_up() -> None:
    assert hpa(replace(IMAGE, ready=4, starting=3, utilisation=1.0))[0] == 7  # ceil(4 / 0.8) = 5: already on their way


def test_the_autoscaler_goes_down_to_the_highest_wish_of_its_window() -> None:
    pool, found = replace(IMAGE, ready=8, most=20), []
    memory: Memory = ()
    for step, utilisation in enumerate([0.8, 0.3, 0.5] + [0.2] * 22):
        target, memory = hpa(replace(pool, utilisation=utilisation), 15.0 * step, memory)
        found.append(target)
    # wishes: 8 at 0 s, 3 at 15 s, 5 at 30 s, 2 from 45 s on; each counts for 300 s
    assert found[:21] == [8] * 21
    assert found[21:23] == [5, 5]
    assert found[23:] == [2] * 2
    assert len(memory[0]) == 21


def test_the_autoscaler_goes_up_at_once_unless_told_to_wait() -> None:
    pool = replace(IMAGE, ready=4)
    _, memory = hpa(replace(pool, utilisation=0.8))
    assert hpa(replace(pool, utilisation=1.0), 15.0, memory)[0] == 5
    assert hpa(replace(pool, utilisation=1.0), 15.0, memory, up_s=60.0)[0] == 4
