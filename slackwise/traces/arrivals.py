"""When requests of the synthetic week arrive: counts per minute and class, then times inside the minute.

Text is Poisson. The image rate moves from minute to minute (gamma, remembered for about a minute) and from one 20-s
slot to the next (Dirichlet), and is Poisson inside a slot. Image-heavy requests keep to their episodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.streams import stream
from slackwise.traces.calibration import HOURS, MINUTES, Calibration, Floats

Counts = NDArray[np.int64]
SLOTS = 3


@dataclass(frozen=True)
class Plan:
    """Requests per minute, three columns of one length: text, image, and of the image requests the heavy ones."""

    text: Counts
    image: Counts
    heavy: Counts

    def window(self, first: int, minutes: int) -> Plan:
        """The plan of `minutes` minutes from minute `first` on."""
        part = slice(first, first + minutes)
        return Plan(self.text[part], self.image[part], self.heavy[part])

    def resized(self, rows: int, seed: int) -> Plan:
        """The plan with exactly `rows` requests: some added or taken away at random, the mix kept."""
        rng = stream(seed, "trace.rows")
        texts = round(rows * int(self.text.sum()) / max(1, int(self.text.sum() + self.image.sum())))
        text, image = settled(self.text, texts, rng), settled(self.image, rows - texts, rng)
        return Plan(text, image, np.minimum(self.heavy, image))


def hour_of_minute(first: int, minutes: int) -> Counts:
    """Hour of the week, 0 to 167, of `minutes` minutes from minute `first` of the week on."""
    return (np.arange(first, first + minutes) // 60) % HOURS


def drawn_plan(about: Calibration, weeks: int, scale: float, seed: int) -> Plan:
    """A plan of whole weeks from hour 0 on, all rates times `scale`; class sizes are those of the calibration."""
    rng = stream(seed, "trace.minutes")
    hour = hour_of_minute(0, weeks * MINUTES)
    text_level = about.text_rpm[hour] * scale
    image_level = about.image_rpm[hour] * scale * _bursts(about, hour, rng)
    text, image = _poisson(text_level, rng), _poisson(image_level, rng)
    return Plan(text, image, _heavy(about, hour, image, seed))


def replayed_plan(about: Calibration, totals: Counts, first: int, seed: int) -> Plan:
    """A plan with exactly `totals` requests a minute from minute `first` of the week on.

    Text follows its rate, scaled to the totals' own, as far as a minute has room; images are the rest. What finds no
    room in its minute goes to others of the same hour, so that every hour keeps its image share.
    """
    rng = stream(seed, "trace.minutes")
    hour = hour_of_minute(first, len(totals))
    requests, all_rpm = int(totals.sum()), about.text_rpm[hour] + about.image_rpm[hour]
    level = about.text_rpm[hour] * requests / all_rpm.sum()
    text = np.minimum(rng.poisson(level), totals)
    for at in np.split(np.arange(len(hour)), np.flatnonzero(np.diff(hour)) + 1):
        wanted = min(round(float(level[at].sum())), int(totals[at].sum()))
        text[at] = settled(text[at], wanted, rng, room=totals[at] - text[at])
    text = settled(text, round(float(level.sum())), rng, room=totals - text)
    image = totals - text
    return Plan(text, image, _heavy(about, hour, image, seed))


def settled(counts: Counts, total: int, rng: np.random.Generator, room: Counts | None = None) -> Counts:
    """`counts` moved to the sum `total`: requests are taken from all alike, or added in proportion, or into `room`."""
    missing = total - int(counts.sum())
    if missing > 0 and room is None:
        weight = counts + 1e-9
        return counts + rng.multinomial(missing, weight / weight.sum())
    source = counts if room is None or missing < 0 else room
    moved = rng.multivariate_hypergeometric(source, abs(missing), method="marginals")
    return counts + moved if missing > 0 else counts - moved


def _poisson(level: Floats, rng: np.random.Generator) -> Counts:
    counts = rng.poisson(level)
    return settled(counts, round(float(level.sum())), rng)


def _bursts(about: Calibration, hour: Counts, rng: np.random.Generator) -> Floats:
    """Image rate of each minute relative to its hour's, mean 1 in every hour.

    Gamma draws, put in the order of a correlated series: their distribution stays, the memory is added.
    """
    shape = 1.0 / about.image_burst[hour]
    levels = np.sort(rng.gamma(shape, 1.0 / shape).reshape(-1, 60), axis=1)
    levels /= levels.mean(axis=1, keepdims=True)
    rank = np.argsort(np.argsort(_correlated(about, len(hour), rng).reshape(-1, 60), axis=1), axis=1)
    ordered: Floats = np.take_along_axis(levels, rank, axis=1).ravel()
    return ordered


def _correlated(about: Calibration, minutes: int, rng: np.random.Generator) -> Floats:
    """A standard normal series, the sum of first-order autoregressive parts."""
    total = np.zeros(minutes)
    for weight, correlation in about.memory:
        shock = rng.standard_normal(minutes) * np.sqrt(1.0 - correlation**2)
        for minute in range(1, minutes):
            shock[minute] += correlation * shock[minute - 1]
        total += np.sqrt(weight) * shock
    return total


def _heavy(about: Calibration, hour: Counts, image: Counts, seed: int) -> Counts:
    """Heavy requests of each minute: their share of the hour's image requests, drawn to minutes in bursts."""
    rng = stream(seed, "trace.heavy")
    shape = 1.0 / about.heavy_burst
    weight = about.heavy_share[hour] * rng.gamma(shape, 1.0 / shape, len(hour))
    weight *= np.maximum(image, 1.0) ** -about.heavy_damping
    heavy = min(round(float(image @ about.heavy_share[hour])), int(image.sum()))
    minute = np.repeat(np.arange(len(hour)), image)
    # Weighted sampling without replacement: the smallest exponential clocks win (Efraimidis and Spirakis, 2006).
    with np.errstate(divide="ignore"):
        clock = rng.exponential(size=len(minute)) / weight[minute]
    chosen = np.argpartition(clock, heavy - 1)[:heavy] if heavy else np.zeros(0, np.int64)
    return np.bincount(minute[chosen], minlength=len(hour))


def text_times(plan: Plan, rng: np.random.Generator) -> Floats:
    """Seconds of each text request from the plan's start, uniform in its minute."""
    minute = np.repeat(np.arange(len(plan.text)), plan.text)
    return 60.0 * (minute + rng.random(len(minute)))


def image_times(plan: Plan, concentration: float, rng: np.random.Generator) -> Floats:
    """Seconds of each image request: slots of 20 s share their minute at random, uniform inside a slot."""
    minute = np.repeat(np.arange(len(plan.image)), plan.image)
    draw = rng.random(len(minute))
    ends = np.cumsum(rng.dirichlet(np.full(SLOTS, concentration), len(plan.image)), axis=1)
    ends[:, -1] = 1.0
    starts = np.concatenate((np.zeros((len(ends), 1)), ends[:, :-1]), axis=1)
    slot = (draw[:, None] >= ends[minute]).sum(axis=1)
    inside = (draw - starts[minute, slot]) / (ends - starts)[minute, slot]
    times: Floats = 60.0 * minute + 60.0 / SLOTS * (slot + inside)
    return times
