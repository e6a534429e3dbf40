"""ISO 8601 times, read from and written to columns of bytes at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

NS_PER_S = 1_000_000_000
_DATE_TIME = "0000-00-00 00:00:00"
_LENGTH = len(_DATE_TIME)
_FRACTION_DIGITS = 9


@dataclass(frozen=True)
class Fields:
    """One column of a text file: field i is `text[start[i]:end[i]]`."""

    text: NDArray[np.uint8]
    start: Integers
    end: Integers

    def byte(self, offset: int | Integers) -> NDArray[np.uint8]:
        """The byte `offset` behind each field's start (any byte where the field is shorter)."""
        found: NDArray[np.uint8] = self.text[np.minimum(self.start + offset, len(self.text) - 1)]
        return found

    @property
    def width(self) -> Integers:
        """Bytes of each field."""
        return self.end - self.start


def whole_numbers(fields: Fields, digits: int = 10) -> tuple[Integers, Mask]:
    """Values of fields of 1 to `digits` decimal digits and nothing else, and which fields are so."""
    width = fields.width
    fine = (width > 0) & (width <= digits)
    values = np.zeros(len(width), np.int64)
    for place in range(min(int(width.max(initial=0)), digits)):
        inside = place < width
        digit = fields.byte(place) - np.uint8(48)
        fine &= ~inside | (digit <= 9)
        values = np.where(inside, values * 10 + digit, values)
    return values, fine


def times_ns(fields: Fields) -> tuple[Integers, Mask]:
    """Nanoseconds since 1970 of `YYYY-MM-DD[T ]HH:MM:SS[.f{1,9}][Z|+hh:mm|-hh:mm]`, and which fields are so.

    No zone means UTC (the Azure LLM trace of 2023 writes none). Years 1970 to 2261.
    """
    fine = fields.width >= _LENGTH
    year, month, day, hour, minute, second = (
        _digits(fields, at, count, fine) for at, count in ((0, 4), (5, 2), (8, 2), (11, 2), (14, 2), (17, 2))
    )
    for at, marks in ((4, b"-"), (7, b"-"), (10, b"T "), (13, b":"), (16, b":")):
        fine &= np.isin(fields.byte(at), np.frombuffer(marks, np.uint8))
    fine &= (year >= 1970) & (year <= 2261) & (month >= 1) & (month <= 12)
    fine &= (hour < 24) & (minute < 60) & (second < 60)
    days = _days(year, month, day, fine)
    fraction, end = _fraction_ns(fields, fine)
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second - _zone_s(fields, end, fine)
    return seconds * NS_PER_S + fraction, fine


def _digits(fields: Fields, at: int, count: int, fine: Mask) -> Integers:
    """The number in `count` digits at offset `at`; clears `fine` where there is something else."""
    value = np.zeros(len(fine), np.int64)
    for place in range(at, at + count):
        digit = fields.byte(place) - np.uint8(48)
        fine &= digit <= 9
        value = value * 10 + digit
    return value


def _days(year: Integers, month: Integers, day: Integers, fine: Mask) -> Integers:
    """Days since 1970-01-01; clears `fine` where the month has no such day."""
    months = np.where(fine, (year - 1970) * 12 + month - 1, 0)
    first = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    after = (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64)
    fine &= (day >= 1) & (day <= after - first)
    return first + day - 1


def _fraction_ns(fields: Fields, fine: Mask) -> tuple[Integers, Integers]:
    """Nanoseconds of the fraction, and the offset behind it; clears `fine` where a point has no digit behind it."""
    running = (fields.width > _LENGTH) & (fields.byte(_LENGTH) == ord("."))
    end = np.where(running, _LENGTH + 1, _LENGTH)
    pointed, value = running.copy(), np.zeros(len(fine), np.int64)
    for place in range(_FRACTION_DIGITS):
        at = _LENGTH + 1 + place
        digit = fields.byte(at) - np.uint8(48)
        running &= (at < fields.width) & (digit <= 9)
        value = value * 10 + np.where(running, digit, 0)
        end += running
    fine &= ~pointed | (end > _LENGTH + 1)
    return value, end


def _zone_s(fields: Fields, at: Integers, fine: Mask) -> Integers:
    """Seconds that the zone at offset `at` is ahead of UTC; clears `fine` where none is read to the field's end."""
    left = fields.width - at
    zulu = (left == 1) & (fields.byte(at) == ord("Z"))
    mark = fields.byte(at)
    signed = (left == 6) & ((mark == ord("+")) | (mark == ord("-")))
    zone = np.zeros(len(fine), np.int64)
    if signed.any():
        tail = Fields(fields.text, fields.start + at, fields.end)
        readable = signed.copy()
        hours, minutes = _digits(tail, 1, 2, readable), _digits(tail, 4, 2, readable)
        readable &= (tail.byte(3) == ord(":")) & (hours < 24) & (minutes < 60)
        zone = np.where(readable, (hours * 3600 + minutes * 60) * np.where(mark == ord("-"), -1, 1), 0)
        signed &= readable
    fine &= zulu | signed | (left == 0)
    return zone


@lru_cache(maxsize=1024)
def parse_time_ns(text: str) -> int:
    """Nanoseconds since 1970 of one ISO 8601 time, as `times_ns`; a date alone means its midnight, UTC.

    Raises InputError if it is none.
    """
    whole = f"{text}T00:00:00" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text
    whole = re.sub(r"(T\d\d:\d\d)(Z?)$", r"\1:00\2", whole)
    data = np.frombuffer(whole.encode(errors="replace") or b" ", np.uint8)
    value, fine = times_ns(Fields(data, np.zeros(1, np.int64), np.array([len(data)])))
    if not fine[0]:
        raise InputError(f"'{text}' is not a time: write it as 2024-10-16T08:36:00Z")
    return int(value[0])


def format_times(time_ns: Integers) -> list[str]:
    """The times as ISO 8601 with `Z`: to the millisecond if all are whole ones, else to the nanosecond."""
    whole_ms = not np.any(time_ns % 1_000_000)
    stamps: list[str] = np.datetime_as_string(time_ns.view("M8[ns]"), unit="ms" if whole_ms else "ns").tolist()
    return [stamp + "Z" for stamp in stamps]


def format_time(time_ns: int) -> str:
    """One time as ISO 8601 with `Z`, with no more digits than it needs."""
    stamp = str(np.datetime_as_string(np.int64(time_ns).astype("M8[ns]"), unit="ns"))
    return stamp.rstrip("0").rstrip(".") + "Z" if "." in stamp else stamp + "Z"
