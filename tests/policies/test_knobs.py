"""Knobs say what they allow, and refuse the rest."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.policies.knobs import (
    Choice,
    IntRange,
    Knob,
    Quantile,
    Range,
    decode_knobs,
    encode_knobs,
    knob_words,
    parse_value,
)

KNOBS: dict[str, Knob] = {
    "aging": Range(0.0, 2.0, default=0.5),
    "limit": IntRange(1, 64, default=None, none="no limit"),
    "late": Choice(("keep", "demote"), default="keep"),
    "quantile": Quantile(0.5, 0.95, default=0.5),
}


def test_knobs_left_out_take_their_default_in_the_order_declared() -> None:
    params = encode_knobs("policy", KNOBS, {"late": "demote"})
    assert params.dtype == np.float64
    assert params.tolist() == [0.5, math.inf, 1.0, 0.0]


@given(
    aging=st.floats(0.0, 2.0),
    limit=st.none() | st.integers(1, 64),
    late=st.sampled_from(["keep", "demote"]),
    quantile=st.floats(0.5, 0.95),
)
def test_decoding_gives_back_what_was_encoded(aging: float, limit: int | None, late: str, quantile: float) -> None:
    values = {"aging": aging, "limit": limit, "late": late, "quantile": quantile}
    decoded = decode_knobs("policy", KNOBS, encode_knobs("policy", KNOBS, values))
    assert decoded.pop("quantile") == pytest.approx(quantile, abs=1e-9)
    assert decoded == {"aging": aging, "limit": limit, "late": late}


def test_a_quantile_is_seen_as_its_normal_score() -> None:
    assert encode_knobs("policy", KNOBS, {"quantile": 0.95})[3] == pytest.approx(1.6448536, abs=1e-7)
    assert NormalDist().cdf(Quantile(0.1, 0.9, 0.2).encode("q", 0.3)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"aging": 2.1}, "policy.aging = 2.1 is not allowed: 0.0 to 2.0"),
        ({"aging": math.nan}, "aging = nan is not allowed"),
        ({"aging": "0.5"}, "aging = '0.5' is not allowed"),
        ({"aging": True}, "aging = True is not allowed"),
        ({"aging": None}, "aging = None is not allowed"),
        ({"limit": 1.5}, "limit = 1.5 is not allowed: whole numbers 1 to 64, or none (no limit)"),
        ({"limit": 0}, "limit = 0 is not allowed"),
        ({"late": "demot"}, "did you mean 'demote'?"),
        ({"late": ["keep"]}, "Known: demote, keep"),
        ({"agin": 1.0}, "unknown knob of policy 'agin': did you mean 'aging'?"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as error:
        encode_knobs("policy", KNOBS, values)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_numpy_numbers_are_numbers() -> None:
    params = encode_knobs("policy", KNOBS, {"aging": np.float64(0.25), "limit": np.int64(3)})
    assert params[:2].tolist() == [0.25, 3.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Range(1.0, 1.0, 1.0),
        lambda: Range(0.0, math.inf, 1.0),
        lambda: Range(0.0, 1.0, 2.0),
        lambda: Range(0.0, 1.0, None),
        lambda: Range(0.0, 1.0, 0.5, log=True),
        lambda: IntRange(1, 4, 2.5),  # type: ignore[arg-type]
        lambda: Quantile(0.0, 0.5, 0.2),
        lambda: Choice(("a", "b"), "c"),
        lambda: Choice(("a", "a"), "a"),
    ],
)
def test_a_knob_that_makes_no_sense_cannot_be_declared(make: object) -> None:
    with pytest.raises(InputError):
        make()  # type: ignore[operator]


def test_the_wrong_number_of_params_is_refused() -> None:
    with pytest.raises(InputError, match="policy has 4 knobs, not 2"):
        decode_knobs("policy", KNOBS, np.zeros(2))


@pytest.mark.parametrize(
    ("knob", "text", "value"),
    [("aging", "1", 1), ("aging", "0.5", 0.5), ("limit", "none", None), ("late", "none", "none"), ("aging", "x", "x")],
)
def test_text_is_read_as_the_knob_means_it(knob: str, text: str, value: object) -> None:
    assert parse_value(KNOBS[knob], text) == value


def test_a_knob_is_told_in_words() -> None:
    assert knob_words(KNOBS["aging"]) == "real 0.0 to 2.0; default 0.5"
    assert knob_words(KNOBS["limit"]) == "integer 1 to 64, or none = no limit; default no limit"
    assert knob_words(KNOBS["late"]) == "one of keep, demote; default keep"
