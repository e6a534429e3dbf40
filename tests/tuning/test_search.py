"""A search starts from today's service, sees its own part of the trace alone, and gives the same again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest

from slackwise.errors import InputError
from slackwise.simulator import isolated, preset, simulate
from slackwise.traces import Trace, synthesize
from slackwise.traces.resample import period_s
from slackwise.tuning import search_load, search_study
from slackwise.tuning.search import Search, Service, Trial, search
from slackwise.tuning.search_load import FACTORS, LONGEST_H, REPORT_FROM_H, SEARCH_FROM_H, load
from slackwise.tuning.search_space import ENCODER_CHOICES, LLM_CHOICES, Candidate, layouts, suggest
from slackwise.tuning.search_study import TUNED, Plan, study

MODEL, GPU, GPUS = "InternVL2.5-26B", "A100-80GB", 16
TODAY = preset("vllm", MODEL, GPU, GPUS)
SERVICE = Service(MODEL, GPU, GPUS, isolated(TODAY.cluster, scale="work"))
TINY = Plan(hours=0.2, trials=5)


@pytest.fixture(scope="module")
def busy() -> Trace:
    return synthesize(1, rows=2500, duration_h=0.2)


@pytest.fixture(scope="module")
def found(busy: Trace) -> Search:
    return search(busy, SERVICE, 25, seed=3)


def test_trial_0_is_what_users_run_today(found: Search) -> None:
    candidate = found.trials[0].candidate
    made = candidate.configuration("vllm", MODEL, GPU, GPUS)
    assert made == TODAY


def test_trial_1_is_modserve_on_todays_engine(found: Search) -> None:
    made = found.trials[1].candidate.configuration("modserve", MODEL, GPU, GPUS)
    published = preset("modserve", MODEL, GPU, GPUS)
    assert made.policies == published.policies
    assert [pool.instances for pool in made.cluster.pools] == [pool.instances for pool in published.cluster.pools]
    assert {pool.engine for pool in made.cluster.pools} == {"transformers", "vllm"}


def test_the_attainment_of_a_finished_trial_is_that_of_a_full_run(busy: Trace, found: Search) -> None:
    for trial in [each for each in found.trials if not each.stopped][:4]:
        result = simulate(busy, trial.candidate.configuration("again", MODEL, GPU, GPUS), SERVICE.objectives, seed=3)
        assert trial.attainment == result.met.mean()


def test_no_stopped_trial_would_have_won(busy: Trace, found: Search) -> None:
    stopped = [trial for trial in found.trials if trial.stopped]
    assert stopped
    for trial in stopped:
        result = simulate(busy, trial.candidate.configuration("again", MODEL, GPU, GPUS), SERVICE.objectives, seed=3)
        assert result.met.mean() < found.best.attainment


def test_the_best_beats_or_is_the_default(found: Search) -> None:
    assert found.best.attainment >= found.trials[0].attainment
    assert not found.best.stopped


def test_of_equal_trials_the_earliest_is_the_best() -> None:
    candidates = (Candidate(0, ()), Candidate(1, ()), Candidate(2, ()))
    scored = zip(candidates, (0.5, 0.9, 0.9), strict=True)
    trials = tuple(Trial(at, each, score) for at, (each, score) in enumerate(scored))
    assert Search(trials).best.number == 1


def test_the_same_seed_gives_the_same_trials_and_another_seed_others(busy: Trace, found: Search) -> None:
    assert search(busy, SERVICE, 12, seed=3).trials == found.trials[:12]
    assert search(busy, SERVICE, 12, seed=4).trials[3:] != found.trials[3:12]


def test_progress_is_told_every_trial(busy: Trace) -> None:
    told: list[Trial] = []
    assert search(busy, SERVICE, 4, progress=told.append).trials == tuple(told)


def test_a_search_of_no_trials_is_refused(busy: Trace) -> None:
    with pytest.raises(InputError, match="at least 1 trial"):
        search(busy, SERVICE, 0)


def test_optuna_keeps_its_verbosity_and_stays_silent(busy: Trace, capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    search(busy, SERVICE, 1)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("gpus", [8, 12, 16, 32])
def test_every_layout_uses_all_gpus_and_the_first_is_todays(gpus: int) -> None:
    for text_instances in layouts(gpus):
        assert Candidate(text_instances, ()).configuration("any", MODEL, GPU, gpus).cluster.gpus == gpus
    assert Candidate(layouts(gpus)[0], ()).configuration("vllm", MODEL, GPU, gpus) == preset("vllm", MODEL, GPU, gpus)


def test_whatever_is_suggested_is_a_valid_configuration_on_real_engines() -> None:
    sampler = optuna.samplers.RandomSampler(seed=0)
    asked: optuna.Study = optuna.create_study(sampler=sampler)
    for _ in range(60):
        made = suggest(asked.ask(), GPUS).configuration("any", MODEL, GPU, GPUS)
        assert {pool.engine for pool in made.cluster.pools if pool.stages != "E"} == {"vllm"}


def test_the_first_choice_of_every_role_of_a_monolith_is_todays() -> None:
    for role, choices in LLM_CHOICES.items():
        assert getattr(TODAY.policies, role).name == next(iter(choices))


def test_without_puts_back_one_thing_at_a_time() -> None:
    candidate = Candidate(3, ("routing=predicted_completion", "batching=least_slack", "batching.aging=0.5"))
    parts = candidate.without()
    assert parts["batching=fcfs"].settings == ("routing=predicted_completion", "batching=fcfs")
    assert parts["batching=fcfs"].text_instances == 3
    assert parts["encoders with the LLM, on monoliths"] == Candidate(0, candidate.settings)
    assert len(parts) == 3
    assert Candidate(0, ("routing=least_requests", "batching=fcfs")).without() == {}
    assert not set(ENCODER_CHOICES) & set(LLM_CHOICES)


def test_searched_and_reported_hours_of_the_week_never_meet() -> None:
    for factor in FACTORS:
        assert SEARCH_FROM_H + LONGEST_H * math.ceil(factor) <= REPORT_FROM_H


def test_hours_that_would_meet_are_refused() -> None:
    with pytest.raises(InputError, match="hours to search"):
        load(SERVICE, LONGEST_H * 1.01, 1.0)


def test_the_load_is_the_highest_that_todays_service_stands() -> None:
    loaded = load(SERVICE, 0.1, 0.1, target=0.8)
    following = FACTORS[FACTORS.index(loaded.factor) + 1]
    more = search_load.part(SEARCH_FROM_H, 0.1, following, 0)
    assert simulate(loaded.searched, TODAY, SERVICE.objectives).met.mean() >= 0.8
    assert simulate(more, TODAY, SERVICE.objectives).met.mean() < 0.8


def test_gaps_are_superposed_and_thinned_never_squeezed() -> None:
    whole = synthesize(0, start_h=0.0, duration_h=0.4)
    thinned = search_load.part(0.0, 0.1, 3.5, 0)
    folded = np.sort(np.mod(whole.arrival_s, period_s(whole) / 4))
    nearest = folded[np.minimum(np.searchsorted(folded, thinned.arrival_s - 1e-6), len(folded) - 1)]
    assert nearest == pytest.approx(thinned.arrival_s, abs=2e-6)
    assert len(thinned) == pytest.approx(3.5 / 4 * len(whole), rel=0.1)


def test_what_is_tuned_hangs_on_the_searched_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = study(MODEL, TINY)
    monkeypatch.setattr(search_load, "REPORT_FROM_H", REPORT_FROM_H + 30.0)
    second = study(MODEL, TINY)
    assert second.search == first.search
    assert second.load.factor == first.load.factor
    assert len(second.load.reported) != len(first.load.reported)


def test_the_search_is_given_the_searched_part_and_the_comparison_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[Trace] = []

    def spy(trace: Trace, *rest: Any) -> Search:
        searched.append(trace)
        return search(trace, *rest)

    monkeypatch.setattr(search_study, "search", spy)
    done = study(MODEL, TINY)
    assert searched == [done.load.searched]
    for outcome in done.comparison.outcomes:
        assert len(outcome.result.arrival_s) == len(done.load.reported)


def test_a_study_compares_the_presets_and_the_tuned_service_on_the_same_gpus() -> None:
    done = study(MODEL, TINY)
    assert [each.name for each in done.comparison.outcomes] == ["vllm", "vllm-0.7", "modserve", TUNED]
    assert {each.configuration.cluster.gpus for each in done.comparison.outcomes} == {GPUS}
    assert done.strongest in ("vllm", "vllm-0.7", "modserve")
    assert done.over_default.metric == "attainment"


def test_a_search_that_finds_nothing_better_is_no_winner() -> None:
    done = study(MODEL, Plan(hours=0.2, trials=1))
    assert done.over_default.difference == 0.0
    assert done.over_default.verdict == "no difference shown"
    assert not done.wins
    assert done.without == {}


def test_an_unknown_model_names_the_closest() -> None:
    with pytest.raises(InputError, match=r"InternVL2\.5-26B"):
        study("InternVL2.5-62B", TINY)
