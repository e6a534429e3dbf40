"""A declaration is all the wiring a policy needs, and what is wrong with it is said in one line."""

from __future__ import annotations

import json

import numba
import numpy as np
import pytest
from numba.core.errors import NumbaError

from slackwise.errors import InputError
from slackwise.policies import Range, batching_policy, find, policies, routing_policy
from slackwise.policies.compilation import _reason
from slackwise.policies.declare import Instance, Params, Policy, Request
from slackwise.policies.features import INSTANCE, REQUEST
from slackwise.testing.records import random_cases

jit = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing compiles with NUMBA_DISABLE_JIT=1")


@batching_policy(source="test", order="fixed", weight=Range(0.0, 2.0, default=1.0))
def weighted_arrival(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Arrival, weighted.

    Formula: key [s] = weight * a_r.
    """
    return float(params[0] * request.arrival_s)


@routing_policy(source="test")
def misspelt(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Reads a feature that does not exist."""
    load = instance.waiting
    return float(load + instance.pending_imagetokens)


@routing_policy(source="test")
def objects(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Does what no machine code can."""
    return float(sorted({"a": 1}.items(), key=str)[0][1])


@routing_policy(source="test")
def forgetful(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Returns nothing."""
    return None  # type: ignore[return-value]


def test_a_declared_policy_knows_its_name_family_and_words() -> None:
    assert (weighted_arrival.name, weighted_arrival.family) == ("weighted_arrival", "batching")
    assert weighted_arrival.summary == "Arrival, weighted."
    assert weighted_arrival.formula == "key [s] = weight * a_r."
    described = weighted_arrival.describe()
    assert described["symbols"] == {"a_r": "arrival of the request [s]"}
    assert json.loads(json.dumps(described)) == described


def test_the_compiled_function_takes_records_and_params() -> None:
    case = random_cases(1, seed=0)
    value = weighted_arrival.compiled(case.requests[0], case.instances[0], 0.0, weighted_arrival.params(weight=0.5))
    assert value == 0.5 * case.requests.arrival_s[0]


def test_a_policy_with_the_wrong_arguments_cannot_be_declared() -> None:
    with pytest.raises(InputError, match=r"takes \(request, instance, now, params\)"):

        @routing_policy(source="test")
        def wrong(request: Request, now: float) -> float:
            return 0.0


@jit
@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            misspelt,
            "`return float(load + instance.pending_imagetokens)`: instance has no feature 'pending_imagetokens'",
        ),
        (misspelt, "did you mean 'pending_image_tokens'?"),
        (objects, "`return float(sorted({"),
        (objects, "cannot compile sorted("),
        (forgetful, "policy 'forgetful' does not compile"),
    ],
)
def test_a_policy_that_does_not_compile_is_refused_with_line_and_features(policy: Policy, words: str) -> None:
    with pytest.raises(InputError) as error:
        _ = policy.compiled
    message = str(error.value)
    assert words in message
    assert all(name in message for name in [*(REQUEST.names or ()), *(INSTANCE.names or ())])
    assert "\n" not in message


def test_no_feature_tells_the_true_output_length() -> None:
    names = [*(REQUEST.names or ()), *(INSTANCE.names or ())]
    assert [name for name in names if "output" in name] == ["output_estimate_tokens"]


def test_unknown_knobs_and_values_out_of_range_name_what_is_allowed() -> None:
    with pytest.raises(InputError, match="did you mean 'aging'"):
        find("batching", "least_slack").params(ageing=1.0)
    with pytest.raises(InputError, match=r"least_slack.aging = 3.0 is not allowed: 0.0 to 2.0"):
        find("batching", "least_slack").params(aging=3.0)


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: policy.name)
def test_every_policy_shows_summary_formula_trade_offs_and_source(policy: Policy) -> None:
    described = policy.describe()
    assert all(described[word] for word in ("summary", "formula", "trade_offs", "source"))
    assert np.array_equal(policy.params(**policy.values(policy.params())), policy.params())


def test_a_reason_is_read_without_the_style_of_a_terminal() -> None:
    styled = NumbaError("\x1b[1m\x1b[1mNo implementation of function f found\x1b[0m\n\x1b[1m >>> sorted(int64)\x1b[0m")

    assert _reason(styled) == "cannot compile sorted(int64)."
