"""Work goes on side by side, in order, and an error or a death ends all of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from slackwise.errors import InputError
from slackwise.reports.processes import run_all


def square(number: int, progress: Callable[[str, float], None]) -> tuple[int, int]:
    progress(f"squaring {number}", 0.5)
    if number < 0:
        raise InputError(f"{number} is negative")
    if number == 13:
        os._exit(3)
    return number * number, os.getpid()


def ignored(*_: Any) -> None:
    pass


def test_results_come_in_the_order_of_the_arguments_from_other_processes() -> None:
    told: list[tuple[int, str, float]] = []
    results = run_all(square, [3, 4, 5], 2, lambda *each: told.append(each))
    assert [result for result, _ in results] == [9, 16, 25]
    assert os.getpid() not in {process for _, process in results}
    assert sorted(told) == [(0, "squaring 3", 0.5), (1, "squaring 4", 0.5), (2, "squaring 5", 0.5)]


def test_one_process_is_this_one() -> None:
    told: list[tuple[int, str, float]] = []
    assert run_all(square, [3, 4], 1, lambda *each: told.append(each)) == [(9, os.getpid()), (16, os.getpid())]
    assert told[1] == (1, "squaring 4", 0.5)


def test_an_error_of_one_is_raised_here() -> None:
    with pytest.raises(InputError, match="-1 is negative"):
        run_all(square, [2, -1], 2, ignored)


def test_a_process_that_dies_is_not_waited_for() -> None:
    with pytest.raises(RuntimeError, match="code 3"):
        run_all(square, [2, 13], 2, ignored)
