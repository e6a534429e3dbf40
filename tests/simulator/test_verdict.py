"""Every run ends in a word that says how, and counts whom it left."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.simulator import Objectives, Result, Simulation, result_of, simulate, summary
from slackwise.simulator.verdict import Verdict, in_system, joined_verdict, verdict
from slackwise.tuning.outcome import joined
from tests.simulator.cases import DECODER_ONLY, OBJECTIVES, configuration, monolith, trace_of

TOO_MUCH = [(0.06 * at, 0, 2048, 1) for at in range(200)]  # 0.117 s of work every 0.06 s


def ended(limit_s: float, rows: list[tuple[float, int, int, int]] = TOO_MUCH) -> Result:
    return simulate(trace_of(rows), configuration(monolith(DECODER_ONLY)), OBJECTIVES, drain_limit_s=limit_s)


def test_a_run_that_drains_is_finished() -> None:
    result = ended(np.inf)
    assert (result.verdict.word, result.verdict.unfinished, result.failed) == ("finished", 0, {})
    assert result.verdict.sentence.startswith("the last of 200 requests left 11.")


def test_a_run_whose_queue_still_grows_is_overloaded_and_what_is_left_has_failed() -> None:
    result = ended(1.0)
    left = result.failed["unfinished"]
    assert result.verdict.word == "overloaded"
    assert 50 < result.verdict.unfinished == left == int(np.isinf(result.end_to_end_s).sum()) < 150
    assert result.span_s == pytest.approx(TOO_MUCH[-1][0] + 1.0)
    assert f"{left} of 200 requests are left 1.0 s after the last came" in str(result.verdict)
    assert summary(result)["verdict"]["word"] == "overloaded"
    assert summary(result)["classes"]["all"]["ttft_s"]["p99"] is None


def test_a_run_that_is_cut_too_early_is_unfinished() -> None:
    rows = [(0.2 * at, 0, 2048, 1) for at in range(100)]
    result = ended(0.01, rows)
    assert (result.verdict.word, result.failed) == ("unfinished", {"unfinished": 1})


def test_a_run_in_which_nothing_can_happen_any_more_is_stuck() -> None:
    run = Simulation(trace_of(TOO_MUCH), configuration(monolith(DECODER_ONLY)), OBJECTIVES)
    run.state.instances.kv_capacity_tokens = 1000  # now no prompt can be begun whole or end
    run.state.pools.prefill_first = 1
    run.run_until()
    result = result_of(run)
    assert (result.verdict.word, result.failed) == ("stuck", {"unfinished": 200})
    assert result.met.sum() == 0


def test_a_run_in_which_everybody_is_turned_away_has_rates_of_zero() -> None:
    chosen = configuration(monolith(DECODER_ONLY), admission="drop_late")
    result = simulate(trace_of([(0.0, 0, 90_000, 1)]), chosen, Objectives(1e-3, 1e-3, 1.0, 1.0))
    assert result.failed == {"dropped": 1}
    assert summary(result)["classes"]["all"]["goodput_rps"] == 0.0
    assert result.verdict.word == "finished"


def test_requests_in_the_system_are_counted_over_quarters() -> None:
    arrival_s = np.array([0.0, 4.0, 6.0, 8.0])
    left_s = np.array([1.0, 7.0, np.inf, np.inf])
    assert in_system(arrival_s, left_s) == ((2.0 + 0.0) / 2, (1.0 + 2.0 + 0.0) / 2)
    assert verdict(arrival_s, left_s, 9.0, True).word == "overloaded"
    assert verdict(arrival_s, left_s, 9.0, False).word == "stuck"


def test_several_runs_are_as_good_as_the_worst() -> None:
    fine, cut = Verdict("finished", 0, "all"), Verdict("unfinished", 3, "three left")
    assert joined_verdict([fine]) == fine
    assert joined_verdict([fine, cut, cut]) == Verdict("unfinished", 6, "2 of 3 runs; three left")
    both = joined([ended(1.0), ended(np.inf)])
    assert (both.verdict.word, len(both.failure)) == ("overloaded", 400)
