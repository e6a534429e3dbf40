"""Batching by slack: how long a request can still wait and make its deadline."""

from __future__ import annotations

from collections.abc import Mapping

from slackwise.policies.batching.deadline import LATE
from slackwise.policies.compilation import policy_helper
from slackwise.policies.declare import Instance, Params, Request, batching_policy
from slackwise.policies.knobs import Choice, Knob, Quantile, Range, Value
from slackwise.policies.quantities import service_s

SLACK_KNOBS: dict[str, Knob] = {
    "aging": Range(0.0, 2.0, default=0.0),
    "quantile": Quantile(0.5, 0.95, default=0.5),
    "late": Choice(("keep", "demote"), default="keep"),
}


def keeps_late(knobs: Mapping[str, Value]) -> bool:
    """Slacks fall at one speed, so their order is fixed unless a request is demoted when its slack turns negative."""
    return knobs["late"] == "keep"


@policy_helper
def slack_key(request: Request, now: float, params: Params) -> float:
    """The slack without the terms that all requests share: no rounding of `now` can swap two of them."""
    latest_start_s = float(request.deadline_s) - service_s(request, params[1])
    key = latest_start_s + float(params[0]) * float(request.arrival_s)
    if params[2] == 1.0 and now > latest_start_s:
        return LATE + key
    return key


@batching_policy(
    source="name: ModServe slides 2025; formula: slackwise, after least laxity (Mok 1983)",
    order=keeps_late,
    **SLACK_KNOBS,
)
def least_slack(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Least slack first: whoever can wait least before missing its deadline.

    Formula: key [s] = d_r - s_r + aging * a_r, with s_r = (e_r + u_r + p_r) * exp(z * sigma_r) the predicted seconds of
    encode, transfer and prefill left and z the normal score of `quantile`. It orders as the slack
    d_r - t - s_r - aging * (t - a_r) does, t being common to all. With late = "demote" a request of negative slack goes
    behind every other.

    Trade-offs: long requests start early enough, short ones fill the gaps; under overload it serves the nearly late
    first and then all are late: demote, or give aging, which tends to arrival order. Rests on predictions: a
    quantile above the median starts uncertain requests earlier.
    """
    return slack_key(request, now, params)


@batching_policy(source="slackwise; bad on purpose", order=keeps_late, **SLACK_KNOBS)
def reverse_slack(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Most slack first: bad on purpose, a metric that cannot tell it from least_slack is broken.

    Formula: key [s] = the negative of the key of least_slack.

    Trade-offs: a control, never for use: it serves last whoever is most urgent.
    """
    return -slack_key(request, now, params)
