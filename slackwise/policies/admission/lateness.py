"""Admission by deadline: what becomes of a request that cannot be in time any more."""

from __future__ import annotations

from slackwise.policies.compilation import policy_helper
from slackwise.policies.declare import ADMIT, DEMOTE, DROP, Instance, Params, Request, admission_policy
from slackwise.policies.knobs import Quantile, Range
from slackwise.policies.quantities import service_s

GRACE = Range(-0.5, 4.0, default=0.0)
QUANTILE = Quantile(0.05, 0.95, default=0.5)


@policy_helper
def too_late(request: Request, now: float, params: Params) -> bool:
    """Whether the request would miss its deadline by more than the grace even if it were served at once."""
    objective_s = float(request.deadline_s) - float(request.arrival_s)
    return now + service_s(request, params[1]) > float(request.deadline_s) + float(params[0]) * objective_s


@admission_policy(
    source="SLOs-Serve 2025 (declining what cannot be met; the rule is slackwise's)", grace=GRACE, quantile=QUANTILE
)
def drop_late(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Gives up a request that cannot meet its deadline any more, even if it were served at once.

    Formula: drop if t + s_r > d_r + grace * D_r, with s_r = (e_r + u_r + p_r) * exp(z * sigma_r) the predicted seconds
    left and z the normal score of `quantile`; else admit.

    Trade-offs: under overload all work goes to requests that can still be in time, so goodput stays near capacity; who
    is dropped gets no answer at all. A request is dropped as late as it can be, so memory and queue are not bounded by
    anything but the deadlines. Rests on predictions.
    """
    return DROP if too_late(request, now, params) else ADMIT


@admission_policy(source="Niyama 2025 (eager relegation; the rule is slackwise's)", grace=GRACE, quantile=QUANTILE)
def relegate_late(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Puts a request that cannot meet its deadline any more into a second queue, served when nothing else waits.

    Formula: demote if t + s_r > d_r + grace * D_r, with s_r = (e_r + u_r + p_r) * exp(z * sigma_r) the predicted
    seconds left and z the normal score of `quantile`; else admit.

    Trade-offs: everyone is answered in the end, the late ones when load allows; under lasting overload they starve
    until it ends. In the second queue the order is that of arrival.
    """
    return DEMOTE if too_late(request, now, params) else ADMIT
