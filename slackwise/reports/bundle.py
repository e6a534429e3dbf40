"""The winner of a study as the bundle that deployment needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from slackwise.policies.bundle import Policies
from slackwise.policies.golden import record_golden
from slackwise.policies.golden_plan import GoldenPlan, record_plans
from slackwise.policies.winner import Winner
from slackwise.testing.records import random_cases
from slackwise.testing.views import random_questions
from slackwise.tuning.search_space import DEFAULT
from slackwise.tuning.search_study import TUNED, Study

GOLDEN_CASES = 4


def winner(study: Study) -> Winner:
    """The tuned service if it wins, else today's: what does not beat it is not deployed."""
    name = TUNED if study.wins else DEFAULT
    configuration = study.comparison.outcome(name).configuration
    cases = random_cases(GOLDEN_CASES, study.plan.seed)
    calls = zip(cases.requests, cases.instances, cases.nows, strict=True)
    return Winner(
        policies=configuration.policies,
        model=study.service.model,
        gpu=study.service.gpu,
        cluster=asdict(configuration.cluster) | {"topology": configuration.cluster.topology},
        objectives=study.service.objectives.to_json(),
        scores=_scores(study, name),
        golden=(*record_golden(configuration.policies, calls), *_plans(configuration.policies, study.plan.seed)),
    )


def _plans(policies: Policies, seed: int) -> tuple[GoldenPlan, ...]:
    """Answers of the provisioning policy about pools of encoders and of text instances."""
    return record_plans(policies, ((pools, now, ()) for pools, now in random_questions(GOLDEN_CASES, seed, kind=1)))


def _scores(study: Study, name: str) -> dict[str, Any]:
    values = {each: found["all"]["attainment"] for each, found in study.comparison.values.items()}
    return {
        "name": name,
        "wins": study.wins,
        "metric": "attainment",
        "attainment": values,
        "tuned_minus_vllm": study.over_default.to_json(),
        "strongest_baseline": study.strongest,
        "tuned_minus_strongest": study.over_strongest.to_json(),
        "trials": len(study.search.trials),
        "seed": study.plan.seed,
        "factor": study.load.factor,
        "reported_requests": len(study.load.reported),
    }
