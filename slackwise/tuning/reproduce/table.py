"""Rows that the paper does not have: today's vLLM, searches, a rolling MILP, a learner, the clairvoyant, the bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slackwise.simulator import Configuration, Result, preset, simulate
from slackwise.traces import Trace
from slackwise.tuning.bounds import Bounds
from slackwise.tuning.candidates import CANDIDATES, DEFAULT, Candidate, CannotLearnError, Made, available
from slackwise.tuning.candidates import Setting as Setup
from slackwise.tuning.confidence import confidence
from slackwise.tuning.goals import Goal as Metric
from slackwise.tuning.outcome import Outcome
from slackwise.tuning.paired import judge
from slackwise.tuning.reproduce.finding import Finding, Goal, Row, goal_over, reduction
from slackwise.tuning.reproduce.services import ROUTING, TUNED, TUNED_TODAY, Tuned, modserve, monolith, tuned_for
from slackwise.tuning.reproduce.setting import COUNTS, Progress, Setting
from slackwise.tuning.reproduce.traffic import at_rate, busy_rate, searched, window
from slackwise.tuning.trials import Task

GPUS = 16
LONGER = 3
"""Windows here are so many times the setting's, so that plans and learners take several decisions."""

LOAD = 0.5
"""Of the monoliths' busy rate; as in ablation.LOADS."""

NAMES = (DEFAULT, "modserve", "modserve_today", "least_slack", "tpe", "rolling_milp", "clairvoyant_milp", "ppo")
FROM = {"tpe": "search by TPE from today's vLLM"}
METRICS = ("attainment", "ttft_mean_s", "ttft_p99_s")
WORDS = {"attainment": "SLO met", "ttft_mean_s": "mean TTFT", "ttft_p99_s": "P99 TTFT"}


def table(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """Every row on the same days that no search saw, on 16 GPUs, each against ModServe with all rules."""
    rows: list[Row] = []
    goals: list[Goal] = []
    notes: list[str] = []
    setting = replace(setting, minutes=LONGER * setting.minutes)
    for at, model in enumerate(setting.models):
        task, kept = _task(setting, model)

        def tell(what: str, at: int = at, model: str = model) -> None:
            progress(f"{model}: {what}", (at + 0.5) / len(setting.models))

        outcomes, missing = _outcomes(setting, model, task, kept, tuned, tell)
        notes += [f"{model}: no row for {name}: {reason}" for name, reason in missing.items()]
        case = f"{model}, {GPUS} GPUs, load {LOAD:g}"
        rows += [*_rows(outcomes, case, setting), _bound(outcomes[ROUTING], task, kept, case)]
        goals += _goals(outcomes, model)
    why = "The paper has none of these rows but its own."
    return Finding(tuple(rows), why, tuple(goals), tuple(notes))


def _task(setting: Setting, model: str) -> tuple[Task, Trace]:
    day = searched(setting, COUNTS[0])
    rate = LOAD * busy_rate(day, monolith(setting, model, GPUS), setting)
    objectives = setting.objectives(model)
    task = Task(at_rate(day, rate, setting.seed), objectives, (Metric("attainment"),), (), setting.seed)
    return task, at_rate(window(setting, COUNTS[0]), rate, setting.seed)


def _outcomes(
    setting: Setting, model: str, task: Task, kept: Trace, tuned: Tuned, tell: Any
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Name -> what it came to on the part kept back, ModServe first; and why others have no row."""
    known, missing = available({name: CANDIDATES[name] for name in NAMES})
    setup = Setup(task, preset("vllm", model, setting.gpu, GPUS), setting.trials * len(task.trace))
    ours: dict[str, Configuration] = {ROUTING: modserve(setting, model, GPUS)}
    ours |= tuned_for(model, GPUS, tuned)
    found = {name: _served(name, Made(each), None, task, kept) for name, each in ours.items()}
    for name, candidate in known.items():
        tell(FROM.get(name, candidate.summary))
        try:
            found[name] = _served(name, candidate.make(setup), candidate, task, kept)
        except CannotLearnError as error:
            missing[name] = str(error)
    return found, missing


def _served(name: str, made: Made, candidate: Candidate | None, task: Task, kept: Trace) -> Outcome:
    configuration = replace(made.configuration, name=name)
    if candidate is not None and candidate.serve is not None:
        result: Result = candidate.serve(kept, configuration, task)
    else:
        result = simulate(kept, configuration, task.objectives, task.seed)
    return Outcome(configuration, task.objectives, (result,))


def _rows(outcomes: Mapping[str, Outcome], case: str, setting: Setting) -> list[Row]:
    rows = []
    found = judge(list(outcomes.values()), ROUTING, setting.seed, resamples=300)
    for name, each in outcomes.items():
        told = confidence(each.results, setting.seed, resamples=300).intervals["all"]["attainment"]
        low, high = (None, None) if told is None else (100 * told[0], 100 * told[1])
        met = 100 * float(each.result.met.mean())
        rows.append(Row(f"{name}: SLO met", case, met, "%", low, high, main=True))
        rows.append(Row(f"{name}: GPU-hours", case, each.result.gpu_s / 3600, "h"))
        for metric in METRICS if name != ROUTING else ():
            value, low, high = reduction(found.difference(name, metric))
            sign = -1.0 if metric == "attainment" else 1.0
            ends = (low, high) if sign > 0 else (None if high is None else -high, None if low is None else -low)
            words = f"{name}: {WORDS[metric]} {'above' if sign < 0 else 'below'} {ROUTING}'s"
            rows.append(Row(words, case, None if value is None else sign * value, "%", *ends))
    return rows


def _bound(outcome: Outcome, task: Task, kept: Trace, case: str) -> Row:
    """The most that any schedule could attain on ModServe's fleet."""
    bound = Bounds(task.goals[0], kept, task).of(outcome.configuration, outcome.result)
    value = None if bound.value is None else 100 * bound.value
    return Row(f"bound on the same fleet ({bound.rung}): SLO met", case, value, "%", main=True)


def _goals(outcomes: Mapping[str, Outcome], model: str) -> list[Goal]:
    found = judge(list(outcomes.values()), ROUTING, resamples=300)
    goals = []
    for name in (TUNED, TUNED_TODAY):
        if name in outcomes:
            goals.append(
                goal_over(
                    f"{model}: {name} ahead of ModServe on {GPUS} GPUs in all metrics",
                    {WORDS[metric]: found.difference(name, metric) for metric in METRICS},
                )
            )
    return goals
