"""Nested leaving out: an inner score chooses the form of the model, an outer model that had no say scores it.

For every family of models left out, each form is scored on the others alone, by leaving out one tensor-parallel degree
at a time; the best is fitted to them and predicts the family. No row of a family takes part in the choice of the form
that predicts it. What a person saw before writing the list of forms is not undone by this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from fit import fit, predict
from forms import FORMS, Form, formed
from measurements import Measurements, encoder_rows, language_rows, subset
from numpy.typing import NDArray


def nested(table: pd.DataFrame, forms: Sequence[Form] = FORMS) -> pd.DataFrame:
    """`table` with the columns `error` = predicted / measured - 1 and `form`, the name of the form that predicted."""
    rows = language_rows(table)
    families = rows.table["family"].to_numpy()
    parts = []
    for family in sorted(set(families)):
        others, own = subset(rows, families != family), subset(rows, families == family)
        parts.append(_scored(own, others, _best(others, forms)))
    images = encoder_rows(table)
    if len(images.seconds):
        parts.append(_scored(images, rows, _best(rows, forms)))
    return pd.concat(parts, ignore_index=True)


def _best(rows: Measurements, forms: Sequence[Form]) -> Form:
    """The form with the lowest mean absolute error on `rows`, leaving out one tensor-parallel degree at a time."""
    errors = [np.abs(_inner_errors(rows, form)).mean() for form in forms]
    return forms[int(np.argmin(errors))]


def _inner_errors(rows: Measurements, form: Form) -> NDArray[np.float64]:
    degrees = rows.table["tp"].to_numpy()
    parts = [_degree_errors(rows, degrees == degree, form) for degree in sorted(set(degrees))]
    return np.concatenate(parts)


def _degree_errors(rows: Measurements, left_out: NDArray[np.bool_], form: Form) -> NDArray[np.float64]:
    """Errors of the rows left out; those of a (GPU, engine) with no other row have no constants and are passed over."""
    others = subset(rows, ~left_out)
    known = set(zip(others.table["gpu"], others.table["profile"], strict=True))
    keys = zip(rows.table["gpu"], rows.table["profile"], strict=True)
    own = subset(rows, left_out & np.array([key in known for key in keys]))
    return _errors(own, others, form)


def _scored(own: Measurements, others: Measurements, form: Form) -> pd.DataFrame:
    return own.table.assign(error=_errors(own, others, form), form=form.name)


def _errors(own: Measurements, others: Measurements, form: Form) -> NDArray[np.float64]:
    """Relative errors on `own` of `form` fitted to `others`."""
    if not len(own.seconds):
        return np.zeros(0)
    values = fit(formed(others, form), form)
    return np.asarray(predict(formed(own, form), values) / own.seconds - 1)
