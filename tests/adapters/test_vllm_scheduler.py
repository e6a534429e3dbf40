"""The plug-in in vLLM's real scheduler, in virtual time: order, images, safety, nothing lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.vllm.loop import Job, Limits, Loop, make_scheduler
from slackwise.errors import InputError
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.roofline import roofline
from slackwise.policies.declare import Instance, Params, Request, batching_policy, chunking_policy
from slackwise.streams import stream
from tests.adapters.bundles import GPU, MODEL, bundle

PLUG_IN = "slackwise.adapters.vllm.SlackwiseScheduler"
SYNC = "slackwise.adapters.vllm.SlackwiseSyncScheduler"
COSTS = roofline(load_model(MODEL), load_gpu(GPU), 1)
HERE = "tests.adapters.test_vllm_scheduler"


@batching_policy(source="a test")
def raises(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Fails for long prompts. Formula: none. Trade-offs: all."""
    if request.prompt_tokens > 300:
        raise ValueError("too long for me")
    return -float(request.arrival_s)


@batching_policy(source="a test", order="fixed")
def latest_first(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The latest first. Formula: -a_r. Trade-offs: the oldest starve."""
    return -float(request.arrival_s)


@chunking_policy(source="a test")
def no_number(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Nonsense. Formula: 0 / 0. Trade-offs: all."""
    return (float(request.images) - float(request.images)) / 0.0


def plugged(
    tiny: Path, folder: Path, *policies: str, limits: Limits | None = None, name: str = PLUG_IN, **more: Any
) -> Any:
    """A scheduler with the plug-in and a bundle of these policies."""
    settings = {"bundle": str(bundle(folder / "w.json", *policies)), "force": True, "allow_modules": True}
    settings |= {"correct_estimates": False, "longest_wait_s": None, **more}
    return make_scheduler(tiny, limits or Limits(sequences=4, step_tokens=512), name, settings)


def firsts(loop: Loop) -> list[str]:
    """Requests in the order of their first tokens."""
    loop.run()
    return sorted(loop.first_s, key=lambda name: (loop.first_s[name], len(name), name))


def burst(objectives_s: list[float]) -> list[Job]:
    """Requests at one time that each fill most of a step."""
    return [Job(f"r{at}", 0.0, 400, 2, objective_s=each) for at, each in enumerate(objectives_s)]


def test_who_has_least_slack_is_served_first(tiny: Path, tmp_path: Path) -> None:
    objectives_s = [9.0, 8.0, 0.5, 7.0, 0.4]
    stock = make_scheduler(tiny, Limits(sequences=1, step_tokens=512))
    assert firsts(Loop(stock, COSTS, burst(objectives_s))) == ["r0", "r1", "r2", "r3", "r4"]
    ours = plugged(tiny, tmp_path, "batching=least_slack", limits=Limits(sequences=1, step_tokens=512))
    assert firsts(Loop(ours, COSTS, burst(objectives_s))) == ["r4", "r2", "r3", "r1", "r0"]
    counters = ours.conductor.counters
    assert (counters.admitted, counters.fallbacks, counters.source) == (5, 0, [5, 0, 0])


@pytest.mark.parametrize("name", [PLUG_IN, SYNC])
@pytest.mark.parametrize("depth", [1, 2])
def test_under_fcfs_text_is_served_as_by_the_stock_scheduler(tiny: Path, tmp_path: Path, name: str, depth: int) -> None:
    if name == SYNC and depth == 2:
        pytest.skip("two steps under way need the asynchronous class")
    stock = (
        "vllm.v1.core.sched.scheduler.Scheduler"
        if name == SYNC
        else "vllm.v1.core.sched.async_scheduler.AsyncScheduler"
    )
    jobs = [Job(f"r{at}", 0.01 * at, 50 + 97 * at % 900, 3 + at % 40) for at in range(60)]
    limits = Limits(sequences=4, step_tokens=512)
    expected = Loop(make_scheduler(tiny, limits, stock), COSTS, jobs, depth).run()
    found = Loop(plugged(tiny, tmp_path, limits=limits, name=name), COSTS, jobs, depth).run()
    assert found == expected


def images_by_step(scheduler: Any, jobs: list[Job]) -> list[dict[str, int]]:
    """Images that each step encoded, by request."""
    inner, steps = scheduler.schedule, []

    def schedule(*args: Any, **kwargs: Any) -> Any:
        output = inner(*args, **kwargs)
        steps.append({name: len(each) for name, each in output.scheduled_encoder_inputs.items()})
        return output

    scheduler.schedule = schedule
    Loop(scheduler, COSTS, jobs).run()
    return [step for step in steps if step]


def test_the_chunking_policy_caps_the_images_of_each_request_in_a_step(tiny: Path, tmp_path: Path) -> None:
    jobs = [Job(f"r{at}", 0.0, 300, 2, images=4, tokens_per_image=64, tiles_per_image=1) for at in range(2)]
    limits = Limits(sequences=4, step_tokens=4096, encoder_tokens=4096)
    free = images_by_step(plugged(tiny, tmp_path, limits=limits), jobs)
    assert free == [{"r0": 4, "r1": 4}]
    capped = plugged(tiny, tmp_path, "chunking=k_images", "chunking.images=3", limits=limits)
    assert images_by_step(capped, jobs) == [{"r0": 3, "r1": 3}, {"r0": 1, "r1": 1}]
    assert capped.conductor.counters.image_caps == 2


def test_a_policy_that_fails_falls_back_to_arrival_and_is_counted(tiny: Path, tmp_path: Path) -> None:
    jobs = [Job(f"r{at}", 0.01 * at, 200, 2) for at in range(5)] + [Job("long", 0.05, 400, 2), Job("z", 0.06, 200, 2)]
    scheduler = plugged(tiny, tmp_path, f"batching={HERE}:raises", limits=Limits(sequences=1, step_tokens=512))
    times = Loop(scheduler, COSTS, jobs).run()
    assert all(each.last_s < float("inf") for each in times.values())
    assert scheduler.conductor.counters.fallbacks > 0
    assert times["r4"].first_s < times["z"].first_s  # by arrival while the long one waits


def test_a_number_of_images_that_is_none_leaves_vllm_to_itself(tiny: Path, tmp_path: Path) -> None:
    jobs = [Job("r", 0.0, 300, 2, images=4, tokens_per_image=64, tiles_per_image=1)]
    scheduler = plugged(tiny, tmp_path, f"chunking={HERE}:no_number", limits=Limits(step_tokens=4096))
    assert images_by_step(scheduler, jobs) == [{"r": 4}]
    assert scheduler.conductor.counters.fallbacks == 1


def test_nobody_starves(tiny: Path, tmp_path: Path) -> None:
    jobs = [Job(f"r{at:03}", 0.02 * at, 400, 2) for at in range(200)]
    one = Limits(sequences=1, step_tokens=512)
    unguarded = Loop(plugged(tiny, tmp_path, f"batching={HERE}:latest_first", limits=one), COSTS, jobs).run()
    guarded_by = plugged(tiny, tmp_path, f"batching={HERE}:latest_first", limits=one, longest_wait_s=1.0)
    guarded = Loop(guarded_by, COSTS, jobs).run()
    waits = [max(times[job.name].first_s - job.arrival_s for job in jobs) for times in (unguarded, guarded)]
    assert waits[0] > 4.0
    assert waits[1] < 0.6 * waits[0]
    assert guarded_by.conductor.counters.starving > 0
    assert guarded_by.conductor.counters.reorders > 0


def test_deadlines_that_make_no_sense_are_counted_and_their_class_counts(tiny: Path, tmp_path: Path) -> None:
    jobs = [Job(f"r{at}", 0.0, 50, 2, objective_s=each) for at, each in enumerate([float("nan"), -1.0, 0.5])]
    scheduler = plugged(tiny, tmp_path)
    Loop(scheduler, COSTS, jobs).run()
    assert scheduler.conductor.counters.bad_deadlines == 2
    assert scheduler.conductor.counters.source == [1, 0, 2]


@pytest.mark.parametrize("settings", [None, {}, {"bundle": "/nowhere/w.json"}, {"bundle": "w", "bundel": 1}])
def test_a_scheduler_without_a_bundle_is_refused_in_one_line(tiny: Path, settings: dict[str, Any] | None) -> None:
    with pytest.raises(InputError) as caught:
        make_scheduler(tiny, Limits(), PLUG_IN, settings)
    assert "\n" not in str(caught.value)


def random_jobs(count: int, seed: int) -> list[Job]:
    """Requests with random fields, some given up by their clients before or while they are served."""
    rng, jobs, now = stream(seed, "fuzz"), [], 0.0
    for at in range(count):
        now += float(rng.exponential(0.02))
        images, each = int(rng.choice([0, 0, 1, 2, 7])), int(rng.choice([16, 64, 256]))
        objective_s = (None, 0.1, 1.0, 60.0, float("nan"), -3.0, 1e30)[int(rng.integers(7))]
        prompt, abort = images * each + int(rng.integers(1, 700)), rng.random() < 0.1
        jobs.append(
            Job(
                f"r{at}",
                now,
                prompt,
                int(rng.integers(1, 30)),
                images,
                each,
                1,
                objective_s,
                now + float(rng.exponential(1.0)) if abort else None,
            )
        )
    return jobs


@pytest.mark.parametrize(
    ("policies", "depth"),
    [(("batching=least_slack", "chunking=k_images"), 1), (("batching=hrrn", "chunking=tile_budget"), 2)],
)
def test_of_ten_thousand_random_requests_none_is_lost_and_no_memory(
    tiny: Path, tmp_path: Path, policies: tuple[str, ...], depth: int
) -> None:
    limits = Limits(sequences=32, step_tokens=1024, encoder_tokens=1024, kv_tokens=16384)
    scheduler = plugged(tiny, tmp_path, *policies, limits=limits, longest_wait_s=20.0, correct_estimates=True)
    free = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
    jobs = random_jobs(5000, seed=depth)
    times = Loop(scheduler, COSTS, jobs, depth).run()
    ended = Counter(each.last_s < float("inf") for job in jobs if job.abort_s is None for each in [times[job.name]])
    assert ended == {True: sum(job.abort_s is None for job in jobs)}
    assert not scheduler.has_unfinished_requests()
    assert not scheduler.waiting
    assert scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == free
    scheduler.schedule()  # the last who left are booked with the next step
    conductor = scheduler.conductor
    assert (len(conductor.mind.book), len(conductor._awaiting), len(scheduler.waiting._turn_of)) == (0, 0, 0)
    assert (conductor.counters.fallbacks, conductor.counters.preempted > 0) == (0, True)
