"""From a trace to the solver's report: plan, proof, what-ifs, replays and baselines as one JSON document."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slackwise.errors import EmptyError, InfeasibleError, InputError
from slackwise.policies.bundle import PolicyChoice
from slackwise.policies.winner import versions
from slackwise.reports.solver import question
from slackwise.reports.solver.cards import Card
from slackwise.reports.solver.resolve import front, safer, what_if
from slackwise.reports.solver.shadow import binding, marginal_values
from slackwise.simulator import Configuration, Simulation
from slackwise.simulator.presets import preset
from slackwise.solver.backend import solver_version
from slackwise.solver.confirm import Confirmed, confirmed
from slackwise.solver.multiples import Multiple, multiples
from slackwise.solver.replay import JudgedResult, Replayed, pool_prices, replay, serve
from slackwise.solver.request import PlanRequest
from slackwise.solver.study import PlanStudy, plan_for
from slackwise.solver.work import check_plain
from slackwise.traces import Trace, scale_rate

SCHEMA = "slackwise-solver-report/1"
TITLE = "What to buy for this traffic, and what to run when"
AUTOSCALERS = ("modserve_ceil", "horizontal_autoscaler", "forecast_ilp")

Report = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a report is about: a trace, the share of it at its end that is held out, and today's service."""

    trace: Trace
    request: PlanRequest
    today: Configuration
    command: str
    held_out: float = 0.5
    rate: float = 1.0  # factor on the rate of either part, each by itself, so that none holds requests of the other

    def __post_init__(self) -> None:
        if not 0.0 < self.held_out < 1.0:
            raise InputError(f"held_out is {self.held_out:g}: it must be within 0 and 1")

    def parts(self) -> tuple[Trace, Trace]:
        """(what is planned for, what is held out), cut between two windows; arrivals of both begin near 0."""
        window_s, arrival = self.request.window_s, self.trace.arrival_s
        if not len(arrival):
            raise EmptyError("the trace has no request")
        begin_s = float(np.floor(arrival[0] / window_s)) * window_s
        windows = int((arrival[-1] - begin_s) // window_s) + 1
        cut_s = begin_s + round((1.0 - self.held_out) * windows) * window_s
        at = int(np.searchsorted(arrival, cut_s))
        if windows < 2 or at in (0, len(arrival)):
            raise EmptyError(f"the trace has {windows} window(s): nothing is left to plan for, or to hold out")
        planned, rest = self.trace.take(slice(0, at)), self.trace.take(slice(at, len(arrival)))
        planned, rest = (
            replace(each, arrival_s=each.arrival_s - since_s) for each, since_s in ((planned, begin_s), (rest, cut_s))
        )
        return self._scaled(planned), self._scaled(rest)

    def _scaled(self, part: Trace) -> Trace:
        return part if self.rate == 1.0 else scale_rate(part, self.rate, self.request.seed)


def solver_report(asked: Asked, report: Report = lambda line: None) -> dict[str, Any]:
    """report.json. An infeasible plan gives a report too, whose verdict says what would have to give way.

    Raises InputError if today's service reuses earlier work or has faults, as the fluid bound knows of neither, and if
    it runs on GPUs without a price where prices are given.
    """
    check_plain(Simulation(asked.trace.take(slice(0, 100)), asked.today, asked.request.objectives()))
    pool_prices(asked.today, asked.request)
    planned, held_out = asked.parts()
    facts = {"schema": SCHEMA, "title": TITLE, **_origin(asked, planned, held_out)}
    try:
        study = plan_for(planned, asked.request, report)
    except InfeasibleError as error:
        cards = [question.infeasible(str(error)), question.reproduce(facts)]
        return facts | {"feasible": False, "error": str(error), "cards": [each.to_json() for each in cards]}
    report("confirming the plan by simulation")
    cards = _cards(asked, confirmed(study, planned, report), planned, held_out, facts, report)
    return facts | {"feasible": True, "error": None, "cards": [each.to_json() for each in cards]}


def _cards(
    asked: Asked, plan: Confirmed, planned: Trace, held_out: Trace, facts: Mapping[str, Any], report: Report
) -> list[Card]:
    study, fresh = plan.study, plan.run
    later = replay(study, held_out)
    today = [serve(each, asked.today, study.request) for each in (planned, held_out)]
    report("solving again under other terms")
    others, sure = what_if(study), safer(study, planned)
    kept = {name: None if each is None else Replayed.of(replay(each, held_out)[1]) for name, each in sure.items()}
    report("the front of cost and attainment")
    points = [(factor, Replayed.of(replay(each, planned)[1])) for factor, each in front(study).items() if each]
    report("baselines")
    rivals = _rivals(asked, study, held_out, later, today[1])
    then, now = Replayed.of(later[1]), Replayed.of(today[0])
    return [
        question.verdict(study, fresh, then, now),
        question.decision(study, asked.today, now),
        question.objective(study),
        question.proof(study),
        question.binding(binding(study), study),
        question.values(study, marginal_values(study), others),
        question.trade(study, points, now),
        question.robustness(study, then, sure, kept),
        question.replays(plan, then),
        question.baselines(study, rivals),
        question.reproduce({**facts, "fingerprint": study.result.fingerprint}),
    ]


def _rivals(
    asked: Asked, study: PlanStudy, trace: Trace, plan: tuple[Configuration, JudgedResult], today: JudgedResult
) -> list[tuple[str, Replayed, Multiple | None]]:
    """The plan, today's fleet and autoscalers on the held-out part, each beside the fluid bound."""
    objectives, seed = study.request.objectives(), study.request.seed
    cap = _gpus(study)
    runs = [plan, (replace(asked.today, name="today"), today)]
    fleet = preset("modserve", study.request.model, study.request.gpu, min(16, cap))
    for name in AUTOSCALERS:
        policies = replace(fleet.policies, provisioning=PolicyChoice(name))
        chosen = replace(
            fleet,
            name=name,
            policies=policies,
            provisioning=replace(fleet.provisioning, gpu_cap=max(cap, fleet.cluster.gpus)),
        )
        runs.append((chosen, serve(trace, chosen, study.request)))
    bounds = multiples(trace, runs, objectives, seed)
    return [(configuration.name, Replayed.of(result), bounds[configuration.name]) for configuration, result in runs]


def _gpus(study: PlanStudy) -> int:
    """GPUs that the servers hold; where there is no limit, those that the plan uses."""
    servers = [each for each in study.request.hardware.servers if each is not None]
    limited = len(servers) == len(study.request.hardware.servers)
    return sum(servers) * study.data.gpus_per_server if limited else int(study.plan.gpus(study.data).max())


def _origin(asked: Asked, planned: Trace, held_out: Trace) -> dict[str, Any]:
    columns: Sequence[Any] = (
        asked.trace.arrival_s, asked.trace.images, asked.trace.context_tokens, asked.trace.output_tokens,
    )  # fmt: skip
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in columns)).hexdigest()
    return {
        "command": asked.command,
        "request": asked.request.to_json(),
        "trace": {"source": asked.trace.source, "requests": len(asked.trace), "sha256": digest},
        "planned": {"requests": len(planned), "span_s": planned.span_s},
        "held_out": {"requests": len(held_out), "span_s": held_out.span_s},
        "versions": versions() | {"ortools": solver_version(), "python": platform.python_version()},
    }
