"""Golden decisions for a bundle: what its policies say to a few random but valid questions."""

from __future__ import annotations

from slackwise.policies.bundle import Policies
from slackwise.policies.golden import Golden, record_golden
from slackwise.policies.golden_plan import GoldenPlan, record_plans
from slackwise.testing.records import random_cases
from slackwise.testing.views import random_questions

CASES = 4


def golden_decisions(policies: Policies, seed: int, cases: int = CASES) -> tuple[Golden | GoldenPlan, ...]:
    """Decisions of every role on `cases` questions; provisioning is asked about encoders and text instances."""
    asked = random_cases(cases, seed)
    calls = zip(asked.requests, asked.instances, asked.nows, strict=True)
    plans = ((pools, now, ()) for pools, now in random_questions(cases, seed, kind=1))
    return (*record_golden(policies, calls), *record_plans(policies, plans))
