"""A search starts from the start, stops what cannot win any more, gives the same again, and goes on where it ended."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from slackwise.errors import InputError
from slackwise.simulator import Result, Simulation, isolated, preset, simulate
from slackwise.traces import Trace, slice_time, synthesize
from slackwise.tuning.estimates import METRICS, Estimator
from slackwise.tuning.goals import GOALS, Goal, bound, goal, goals
from slackwise.tuning.journal import NAME, Journal
from slackwise.tuning.samplers import SAMPLERS
from slackwise.tuning.space import Space, space_of
from slackwise.tuning.trials import Measured, Task, _reachable, measure
from slackwise.tuning.tune import apart, choose, halves, judged
from slackwise.tuning.tune_search import Budget, Entry, History, directions, search
from slackwise.tuning.workers import workers

TODAY = preset("vllm", "InternVL2.5-26B")
OBJECTIVES = isolated(TODAY.cluster, scale="work")
ATTAINMENT = (Goal("attainment"),)


@pytest.fixture(scope="module")
def busy() -> Trace:
    return synthesize(1, rows=2000, duration_h=0.2)


@pytest.fixture(scope="module")
def task(busy: Trace) -> Task:
    return Task(busy, OBJECTIVES, ATTAINMENT)


@pytest.fixture(scope="module")
def space() -> Space:
    return space_of(TODAY)


@pytest.fixture(scope="module")
def run(busy: Trace) -> Result:
    return simulate(busy, TODAY, OBJECTIVES)


def journal(path: Path, task: Task, resume: bool = False, seed: int = 0) -> Journal:
    return Journal(path, {"seed": seed, "trace": {"requests": len(task.trace)}}, directions(task.goals), resume)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("category", ["all", "image"])
def test_a_goal_is_the_metric_of_the_comparison(metric: str, category: str, run: Result) -> None:
    one = Estimator(run, np.zeros(len(run.met), np.int64), 1).estimates(np.ones((1, 1), np.int32))
    assert Goal(metric, category).of(run) == pytest.approx(one[category][metric][0])


def test_a_bound_is_broken_by_how_much_of_it_is_missing(run: Result) -> None:
    attained = Goal("attainment").of(run)
    assert bound(f"attainment>={attained}").violation(run) == 0.0
    assert bound("attainment>=1").violation(run) == pytest.approx(1.0 - attained)
    assert bound("text-only.ttft_p99_s<=1e-3").violation(run) > 1.0
    assert bound("gpu_s<=1e9").violation(run) < 0.0


@pytest.mark.parametrize("text", ["attainment", "attainment=0.9", "attainment>=much", "attainment>=nan", ">=0.9"])
def test_a_constraint_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not understood"):
        bound(text)


def test_unknown_metrics_and_classes_name_the_closest() -> None:
    for text, close in (("atainment", "attainment"), ("imag.ttft_p99_s", "image"), ("ttft_p98_s", "ttft_p99_s")):
        with pytest.raises(InputError, match=f"did you mean '{close}'"):
            goal(text)
    with pytest.raises(InputError, match="one objective, or two different"):
        goals(["attainment", "attainment"])


def test_trial_0_is_the_start_and_its_value_that_of_a_full_run(task: Task, space: Space, run: Result) -> None:
    first = search(task, space, "tpe", Budget(1)).entries[0]
    assert space.configuration(first.values, "vllm") == TODAY
    assert first.measured.values == (float(run.met.mean()),)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "gp"])
def test_every_sampler_tries_other_services_and_gives_the_same_again(sampler: str, task: Task, space: Space) -> None:
    first, again = (search(task, space, sampler, Budget(8)) for _ in range(2))
    assert first == again
    assert len({repr(space.configuration(each.values)) for each in first.entries}) > 4
    assert first.best is not None
    assert first.best.measured.values[0] >= first.entries[0].measured.values[0]


def test_a_repeat_costs_nothing_and_a_random_trial_follows(task: Task) -> None:
    small = space_of(TODAY, ["batching=fcfs|edf"])
    found = search(task, small, "tpe", Budget(20))
    assert len(found.entries) == 20
    assert [each.measured.requests > 0 for each in found.entries].count(True) == 2


def test_gp_goes_by_a_gaussian_process(task: Task, space: Space) -> None:
    pytest.importorskip("torch")
    assert len(search(task, space_of(TODAY, ["batching=least_slack"]), "gp", Budget(12)).entries) == 12


def test_a_stopped_trial_would_not_have_won(task: Task, space: Space) -> None:
    found = search(task, space, "random", Budget(25))
    stopped = [each for each in found.entries if each.measured.stopped]
    assert min(each.measured.requests for each in stopped) < 0.5 * len(task.trace)
    assert found.best is not None
    for entry in stopped:
        whole = measure(replace(task, prune=False), space.configuration(entry.values))
        assert whole.values[0] < found.best.measured.values[0]
        assert entry.measured.values[0] < found.best.measured.values[0]


@pytest.mark.parametrize("metric", ["attainment", "goodput_rps", "ttft_mean_s", "image.ttft_p90_s"])
def test_what_is_reachable_on_the_way_is_never_less_than_what_is_reached(task: Task, metric: str) -> None:
    wanted, end_s = goal(metric), float(task.trace.arrival_s[-1])
    reached = measure(replace(task, goals=(wanted,), prune=False), TODAY).values[0]
    simulation, found = Simulation(task.trace, TODAY, OBJECTIVES, task.seed), []
    for until_s in np.linspace(0.1, 1.0, 10) * end_s:
        simulation.run_until(float(until_s))
        found.append(_reachable(wanted, simulation, float(until_s)))
    assert not any(wanted.better(later, earlier) for earlier, later in itertools.pairwise(found))
    assert not wanted.better(reached, found[-1])
    assert wanted.better(found[0], found[-1])


def test_only_goals_that_are_seen_on_the_way_stop_a_trial(task: Task) -> None:
    assert task.prunes
    assert not replace(task, goals=(Goal("gpu_s"),)).prunes
    assert not replace(task, goals=(Goal("gpu_s"), *ATTAINMENT)).prunes
    assert replace(task, bounds=(bound("attainment>=0.9"),)).prunes


def test_a_trial_that_has_broken_its_bound_or_drowns_is_broken_off(task: Task) -> None:
    strict = replace(task, bounds=(bound("attainment>=0.999"), bound("ttft_p99_s<=100")))
    lost, whole = measure(strict, TODAY), measure(replace(strict, prune=False), TODAY)
    assert lost.stopped
    assert lost.requests < whole.requests
    assert not lost.counts
    assert lost.violations[0] > 0
    assert whole.violations[0] > 0
    one = preset("vllm", "InternVL2.5-26B", gpus=4)
    drowned = measure(replace(task, goals=(Goal("gpu_s"),)), one)
    assert drowned.stopped
    assert drowned.requests < 0.5 * len(task.trace)
    assert drowned.values[0] == pytest.approx(4 * task.trace.span_s, rel=0.05)
    kept = replace(task, bounds=(bound("attainment>=0.01"),))
    assert not measure(kept, TODAY).stopped
    assert measure(kept, TODAY).values == measure(replace(kept, prune=False), TODAY).values


@pytest.mark.parametrize("metric", ["ttft_mean_s", "ttft_p99_s", "image.ttft_p50_s"])
def test_a_trial_that_has_waited_longer_than_its_bound_is_broken_off(task: Task, metric: str) -> None:
    wanted = goal(metric)
    reached = measure(replace(task, goals=(wanted,), prune=False), TODAY).values[0]
    tight, loose = (replace(task, bounds=(bound(f"{metric}<={share * reached!r}"),)) for share in (0.2, 1.0))
    lost, whole = measure(tight, TODAY), measure(loose, TODAY)
    assert lost.stopped
    assert lost.requests < len(task.trace)
    assert 0.0 < lost.violations[0] < 1e3
    assert not whole.stopped
    assert whole.violations == (0.0,)


def test_the_budget_ends_a_search_by_trials_or_by_requests(task: Task, space: Space) -> None:
    size = len(task.trace)
    found = search(replace(task, prune=False), space, "random", Budget(50, 3 * size))
    assert found.requests == 3 * size
    assert len(search(task, space, "random", Budget(50, 1)).entries) == 1
    for wrong in ({"trials": 0}, {"requests": 0}):
        with pytest.raises(InputError, match="at least 1"):
            Budget(**wrong)


def test_known_services_that_had_not_run_come_first_after_a_resume(task: Task, space: Space, tmp_path: Path) -> None:
    budget = Budget(40)
    known = [space.configuration(each) for each in space.starts[: budget.starts(len(task.trace))]]
    search(task, space, "random", Budget(4), journal=journal(tmp_path / "study", task))
    found = search(task, space, "random", budget, journal=journal(tmp_path / "study", task, resume=True))
    assert [space.configuration(each.values) for each in found.entries[4 : len(known)]] == known[4:]


def test_a_search_goes_on_where_it_ended(task: Task, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "study"
    first = search(task, space, "tpe", Budget(5), journal=journal(path, task))
    more = search(task, space, "tpe", Budget(9), journal=journal(path, task, resume=True))
    assert more.entries[:5] == first.entries
    assert len(more.entries) == 9
    assert search(task, space, "tpe", Budget(9), journal=journal(path, task, resume=True)).entries == more.entries
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    opened = optuna.load_study(study_name=NAME, storage=storage)
    assert [each.value for each in opened.trials] == [each.measured.values[0] for each in more.entries]


def test_a_study_of_other_settings_or_none_or_nonsense_is_refused(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "study"
    with pytest.raises(InputError, match="no study to resume"):
        journal(path, task, resume=True)
    journal(path, task)
    before = path.read_bytes()
    with pytest.raises(InputError, match="--resume goes on"):
        journal(path, task)
    with pytest.raises(InputError, match="other settings: seed was 0, is 1"):
        journal(path, task, resume=True, seed=1)
    with pytest.raises(InputError, match=r"other settings: trace\.requests was"):
        journal(path, replace(task, trace=task.trace.take(slice(0, 5))), resume=True)
    assert path.read_bytes() == before
    for content in ("{", "[]\n", json.dumps({"op_code": 99}) + "\n"):
        path.write_text(content)
        with pytest.raises(InputError) as refused:
            journal(path, task, resume=True)
        assert "\n" not in str(refused.value)


def test_processes_find_what_one_process_finds_if_they_take_turns(task: Task, space: Space) -> None:
    with workers(task, 2) as running:
        beside = search(task, space, "random", Budget(5), running)
    alone = search(task, space, "random", Budget(5))
    assert [each.values for each in beside.entries] == [each.values for each in alone.entries]
    for one, other in zip(beside.entries, alone.entries, strict=True):
        if not (one.measured.stopped or other.measured.stopped):
            assert one.measured == other.measured


def test_a_front_holds_what_nothing_beats(task: Task) -> None:
    both = replace(task, goals=(Goal("gpu_s"), Goal("attainment")))
    found = search(both, space_of(TODAY, sizes=True), "tpe", Budget(14))
    values = [each.measured.values for each in found.front]
    assert len(values) > 1
    assert values == sorted(values)
    assert [each[1] for each in values] == sorted(each[1] for each in values)
    cheapest = min(
        (each for each in found.front if each.measured.values[1] >= 0.5), key=lambda each: each.measured.values
    )
    assert choose(found, 0.5) == cheapest
    assert choose(found, 1.1).measured.values[1] == max(each[1] for each in values)


def test_a_trial_that_breaks_a_bound_is_not_the_best(task: Task, space: Space) -> None:
    attained = search(task, space, "random", Budget(6))
    assert attained.best is not None
    strict = replace(
        task, goals=(Goal("ttft_p99_s"),), bounds=(bound(f"attainment>={attained.best.measured.values[0]}"),)
    )
    found = search(strict, space, "tpe", Budget(6))
    assert all(each.measured.violations for each in found.entries)
    for entry in found.entries:
        assert entry.measured.counts == (entry.measured.violations[0] <= 0)
    impossible = replace(strict, bounds=(bound("attainment>=1.1"),))
    with pytest.raises(InputError, match="nothing is chosen"):
        choose(search(impossible, space, "tpe", Budget(2)))


def test_of_equals_the_earliest_is_the_best_and_failures_never() -> None:
    rows = [Measured((), (), (), 0, failure="no"), *(Measured((value,), (), (), 9) for value in (0.5, 0.9, 0.9))]
    found = History(ATTAINMENT, tuple(Entry(at, {}, each) for at, each in enumerate(rows)))
    assert found.best is not None
    assert found.best.number == 2


def test_a_service_that_cannot_run_is_a_failed_trial() -> None:
    tiny = synthesize(0, duration_h=0.02)
    huge = replace(tiny, context_tokens=np.full(len(tiny), 5_000_000, np.int32))
    assert "fits the KV cache" in measure(Task(huge, OBJECTIVES, ATTAINMENT), TODAY).failure


def test_the_part_kept_back_shares_no_request_with_the_searched_one() -> None:
    trace = synthesize(0, duration_h=0.5)
    searched, kept = halves(trace, 0.25, 1.0, 0)
    assert len(searched) + len(kept) == len(trace)
    assert searched.span_s == pytest.approx(3 * kept.span_s, rel=0.02)
    busier = halves(trace, 0.25, 2.0, 0)
    marks = [set(zip(part.context_tokens.tolist(), part.output_tokens.tolist(), strict=True)) for part in busier]
    assert marks[0] <= set(zip(searched.context_tokens.tolist(), searched.output_tokens.tolist(), strict=True))
    assert marks[1] <= set(zip(kept.context_tokens.tolist(), kept.output_tokens.tolist(), strict=True))
    with pytest.raises(InputError, match="above 0 and below 1"):
        halves(trace, 1.0, 1.0, 0)


def test_a_trace_that_judges_must_be_another_one() -> None:
    week = synthesize(0, duration_h=0.2)
    first, second = slice_time(week, 0.0, 400.0), slice_time(week, 400.0)
    assert apart(first, second) == (first, second)
    with pytest.raises(InputError, match="shares 1 requests"):
        apart(slice_time(week, 0.0, float(np.nextafter(second.arrival_s[0] + 400.0, 1e9)) + 1e-6), second)


def test_a_search_that_finds_nothing_better_leaves_the_start(task: Task, space: Space) -> None:
    kept = synthesize(2, rows=1500, duration_h=0.15)
    found = judged(task, space, search(task, space, "tpe", Budget(1)), kept)
    assert not found.wins
    assert found.configuration == TODAY
    assert "No winner" in found.verdict


def test_what_is_found_is_judged_on_the_part_kept_back(task: Task, space: Space) -> None:
    kept = synthesize(2, rows=1500, duration_h=0.15)
    found = judged(task, space, search(task, space, "random", Budget(10)), kept)
    assert {len(each.result.met) for each in found.comparison.outcomes} == {len(kept)}
    assert found.comparison.baseline == "vllm"
    assert found.wins == (found.over_start.verdict == "better" and found.over_strongest.verdict != "worse")


def test_a_baseline_that_breaks_a_bound_is_not_the_strongest(task: Task, space: Space) -> None:
    kept = synthesize(2, rows=1500, duration_h=0.15)
    free = judged(replace(task, goals=(Goal("ttft_p99_s"),)), space, search(task, space, "random", Budget(1)), kept)
    values = {name: each["all"]["ttft_p99_s"] for name, each in free.comparison.values.items() if name != "tuned"}
    assert free.strongest == min(values, key=values.__getitem__)
    attained = {name: free.comparison.values[name]["all"]["attainment"] for name in values}
    least = attained[free.strongest] + 1e-9
    bounded = replace(free.task, bounds=(bound(f"attainment>={least!r}"),))
    again = judged(bounded, space, free.history, kept)
    assert again.strongest != free.strongest or max(attained.values()) < least


def test_every_goal_has_a_direction() -> None:
    assert set(GOALS) == {*METRICS, "gpu_s"}
