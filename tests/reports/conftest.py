"""One tiny study, made once, and its report."""

from __future__ import annotations

from typing import Any

import pytest

from slackwise.reports.card import card
from slackwise.reports.document import document
from slackwise.tuning.search_study import Plan, Study, study

MODEL = "InternVL2.5-26B"


@pytest.fixture(scope="session")
def plan() -> Plan:
    return Plan(hours=0.2, trials=6)


@pytest.fixture(scope="session")
def tiny(plan: Plan) -> Study:
    return study(MODEL, plan)


@pytest.fixture(scope="session")
def found(tiny: Study, plan: Plan) -> dict[str, Any]:
    return document([card(tiny)], plan)
