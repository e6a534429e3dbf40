"""The winner of a study as the bundle that deployment needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from slackwise.policies.winner import Winner
from slackwise.simulator.provisioning import given_settings
from slackwise.testing.golden import golden_decisions
from slackwise.traces.trace import facts
from slackwise.tuning.search_space import DEFAULT
from slackwise.tuning.search_study import TUNED, Study


def winner(study: Study) -> Winner:
    """The tuned service if it wins, else today's: what does not beat it is not deployed."""
    name = TUNED if study.wins else DEFAULT
    configuration = study.comparison.outcome(name).configuration
    return Winner(
        policies=configuration.policies,
        model=study.service.model,
        gpu=study.service.gpu,
        cluster=asdict(configuration.cluster) | {"topology": configuration.cluster.topology},
        objectives=study.service.objectives.to_json(),
        scores=_scores(study, name),
        provisioning=given_settings(configuration.provisioning),
        trace={"searched": facts(study.load.searched), "reported": facts(study.load.reported)},
        provenance={"found_by": "slackwise demo", "sampler": "tpe", "plan": asdict(study.plan)},
        golden=golden_decisions(configuration.policies, study.plan.seed),
    )


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
