"""Other loads from one trace: cut in time, thinned, superposed, folded, with another image share.

Nothing here squeezes gaps: squeezing turns a burst of a minute into one of seconds, which no real load does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import EmptyError, InputError, ZeroDemandError
from slackwise.streams import stream
from slackwise.traces.timestamps import NS_PER_S, format_time, parse_time_ns
from slackwise.traces.trace import Trace

DAY_S = 86_400.0
QUIET_END_S = 3600.0
MOST_REQUESTS = 200_000_000
"""More than this is refused by `scale_rate`: it would not fit in memory."""


class Split(NamedTuple):
    """Three parts of a trace, contiguous in time and in this order."""

    train: Trace
    validation: Trace
    test: Trace


def noted(trace: Trace, step: str) -> Trace:
    """The trace with one more step in `notes["steps"]`."""
    steps = trace.notes.get("steps")
    return replace(trace, notes=trace.notes | {"steps": f"{steps}; {step}" if steps else step})


def period_s(trace: Trace) -> float:
    """Length of the trace for circular shifts and folds: up to the whole second behind the last arrival.

    A trace of two days or more that ends up to an hour before a whole day lasts until then: a quiet end must not
    move the copies off their time of day.
    """
    if not len(trace):
        raise InputError(f"{trace.source}: the trace holds no request")
    period = float(math.floor(trace.arrival_s[-1]) + 1)
    whole_days = math.ceil(period / DAY_S) * DAY_S
    return whole_days if period >= 2 * DAY_S and whole_days - period <= QUIET_END_S else period


def seconds_from_start(trace: Trace, when: str | float) -> float:
    """`when` in seconds from the trace's start: a number is that already, a text is an ISO 8601 time."""
    if isinstance(when, str):
        return (parse_time_ns(when) - parse_time_ns(trace.start)) / NS_PER_S
    return float(when)


def slice_time(trace: Trace, start: str | float = 0.0, end: str | float | None = None) -> Trace:
    """The requests of [start, end), on a clock that begins at `start`; None means to the end of the trace.

    `start` and `end` are seconds from the trace's start or ISO 8601 times. Raises EmptyError if no request is in it.
    """
    first = seconds_from_start(trace, start)
    last = math.inf if end is None else seconds_from_start(trace, end)
    if not first < last:
        raise InputError(f"the window from {start} to {end} is empty: its end must be later than its start")
    rows = slice(*np.searchsorted(trace.arrival_s, [first, last]).tolist())
    if rows.start == rows.stop:
        through = trace.arrival_s[-1] if len(trace) else 0.0
        ending = "the end" if end is None else end
        raise EmptyError(f"no request in the window from {start} to {ending}; the trace ends at {through:.3f} s")
    part = _rebased(trace.take(rows), first)
    return noted(part, f"sliced from {first:g} s to {'the end' if end is None else f'{last:g} s'}")


def _rebased(trace: Trace, first_s: float) -> Trace:
    """The trace on a clock that begins `first_s` seconds later."""
    start_ns = parse_time_ns(trace.start) + round(first_s * NS_PER_S)
    return replace(trace, arrival_s=_to_ns(trace.arrival_s - first_s), start=format_time(start_ns))


def _to_ns(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds on whole nanoseconds: differences of clock times stay as sharp as the times were."""
    rounded: NDArray[np.float64] = np.rint(seconds * NS_PER_S) / NS_PER_S
    return rounded


def scale_rate(trace: Trace, factor: float, seed: int = 0) -> Trace:
    """The trace at `factor` times its rate.

    Below 1 every request stays with that probability (a thinned Poisson process is one). Above 1 copies of the
    trace are superposed, each shifted around its end by whole days as long as there are unused ones, so that hours
    of the day stay together, then by fractions of a day; a last copy is thinned to the rest.
    Raises InputError unless 0 < factor and the result has 1 to MOST_REQUESTS requests.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(f"the rate factor is {factor}: it must be a number above 0")
    if factor * len(trace) > MOST_REQUESTS:
        raise InputError(f"{factor:g} times {len(trace):,} requests are more than {MOST_REQUESTS:,}")
    copies, rest = int(factor), factor - int(factor)
    period = period_s(trace)
    parts = [_shifted(trace, shift, period) for shift, _ in zip(shifts(period), range(copies), strict=False)]
    if rest > 1e-12:
        last = next(shift for place, shift in enumerate(shifts(period)) if place == copies)
        parts.append(_shifted(_thinned(trace, rest, seed), last, period))
    result = _superposed(parts)
    if not len(result):
        raise ZeroDemandError(f"at {factor} times the rate no request is left of {len(trace)}")
    return noted(result, f"rate times {factor:g} (seed {seed})")


def shifts(period: float) -> Iterator[float]:
    """Shifts of the copies of a trace of `period` seconds: 0, then whole days, then ever finer fractions between.

    A trace shorter than two days has no whole days: its own length takes their place.
    """
    unit = DAY_S if period >= 2 * DAY_S else period
    days = max(1, int(period // unit))
    place = 0
    while True:
        fraction = _bit_reversed(place)
        yield from ((day + fraction) * unit % period for day in range(days))
        place += 1


def _bit_reversed(place: int) -> float:
    """Van der Corput's sequence (1935): 0, 1/2, 1/4, 3/4, 1/8, ..., each as far as can be from those before."""
    digits = f"{place:b}"[::-1]
    return int(digits, 2) / float(1 << len(digits))


def _shifted(trace: Trace, shift: float, period: float) -> Trace:
    if shift == 0.0:
        return trace
    arrival = _to_ns(np.mod(trace.arrival_s + shift, period))
    order = np.argsort(arrival, kind="stable")
    return replace(trace.take(order), arrival_s=arrival[order])


def _thinned(trace: Trace, share: float, seed: int) -> Trace:
    return trace.take(stream(seed, "trace.thin").random(len(trace)) < share)


def _superposed(parts: list[Trace]) -> Trace:
    """All requests of the parts in order of arrival, those of the first part first among equals."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("arrival_s", "recorded_images", "context_tokens", "output_tokens")
    }
    order = np.argsort(columns["arrival_s"], kind="stable")
    return replace(parts[0], **{name: column[order] for name, column in columns.items()})


def fold(trace: Trace, parts: int) -> Trace:
    """The `parts` equal segments of the trace laid upon each other: every request once, `parts` times the rate.

    Raises InputError unless parts >= 1.
    """
    if parts < 1:
        raise InputError(f"parts is {parts}: it must be 1 or more")
    segment = period_s(trace) / parts
    arrival = _to_ns(np.mod(trace.arrival_s, segment))
    order = np.argsort(arrival, kind="stable")
    return noted(replace(trace.take(order), arrival_s=arrival[order]), f"folded in {parts} parts of {segment:g} s")


def scale_image_share(trace: Trace, share: float, seed: int = 0) -> Trace:
    """The trace with `share` of its requests carrying images, by leaving out requests of the other class at random.

    The rate falls accordingly. Raises InputError unless 0 <= share <= 1 and the wanted class is there.
    """
    if not 0.0 <= share <= 1.0:
        raise InputError(f"the image share is {share}: it must be between 0 and 1")
    image = trace.recorded_images > 0
    images, texts = int(np.count_nonzero(image)), int(np.count_nonzero(~image))
    if (share > 0 and not images) or (share < 1 and not texts):
        missing = "image" if not images else "text"
        raise InputError(f"{trace.source}: no {missing} request, so an image share of {share:g} cannot be reached")
    if images * (1 - share) > texts * share:
        left_out, wanted = image, images - round(texts * share / (1 - share))
    else:
        left_out, wanted = ~image, texts - round(images * (1 - share) / share) if images else 0
    keep = np.ones(len(trace), np.bool_)
    keep[stream(seed, "trace.share").choice(np.flatnonzero(left_out), wanted, replace=False)] = False
    return noted(trace.take(keep), f"image share {share:g} (seed {seed})")


def split_days(trace: Trace, train: int, validation: int, test: int, day_s: float = DAY_S) -> Split:
    """The trace cut into its first `train` days, the next `validation` days and the next `test` days.

    Days are of `day_s` seconds from the trace's start on. Raises InputError if there are fewer days, or if a part
    has no request.
    """
    counts = {"train": train, "validation": validation, "test": test}
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} is {count} days: it must be 1 or more")
    if not (math.isfinite(day_s) and day_s > 0):
        raise InputError(f"day_s is {day_s}: it must be above 0")
    days = math.ceil(period_s(trace) / day_s)
    if sum(counts.values()) > days:
        asked = " + ".join(str(count) for count in counts.values())
        raise InputError(f"{asked} days are asked for, the trace has {days} of {day_s:g} s")
    ends = np.cumsum(list(counts.values())) * day_s
    starts = (0.0, *ends[:-1].tolist())
    return Split(*(slice_time(trace, start, float(end)) for start, end in zip(starts, ends, strict=True)))
