"""A learned candidate of the honest table: trained on the searched part within a budget of simulated requests.

It provisions: ModServe's layout and least slack, on today's engine, whose pools the actor resizes and whose GPUs move
from one to the other. Where cost is no part of the metric, GPU-seconds are free for it, as for the other rows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from slackwise.policies.bundle import PolicyChoice
from slackwise.policies.learned.policy import NAME as ACTOR
from slackwise.simulator import Configuration
from slackwise.traces import Split, Trace, slice_time
from slackwise.tuning.candidates import CannotLearnError, Made, Setting
from slackwise.tuning.tasks import HereTasks
from slackwise.tuning.training.run import export, fit
from slackwise.tuning.training.settings import PROVISION, Settings

INTERVAL_S = 60.0
WINDOW_S = 1200.0
"""Length of a window that it learns in, shorter if the part that chooses is."""

CHOOSE_SHARE = 0.25
"""Last part of the searched trace: chooses the best model."""

EVALUATIONS, EVALUATED = 4, 0.25
"""Times that the suite is run besides the beginning, and the share of the budget that this takes at most."""

LANES, UPDATES = 16, 10
"""Most windows side by side, and updates that the budget should pay for, of fewer windows if it is small."""

ARS = {"delta_std": 0.3, "learning_rate": 0.1}
PPO = {"learning_rate": 3e-3}
"""For budgets of ten thousand decisions: with the settings of `slackwise train` neither leaves the default action."""


def learned(algorithm: str, start: Configuration, setting: Setting) -> Made:
    """`start` provisioned by what the algorithm learns. Raises CannotLearnError if trace or budget are too small."""
    task, price = setting.task, 0.25 if setting.task.goals[0].metric == "gpu_s_per_good" else 0.0
    if task.image_context != "subtract":
        raise CannotLearnError(f"{algorithm} learns with --image-context subtract only")
    split = _split(task.trace)
    settings = plan(algorithm, split, setting.budget / (INTERVAL_S * len(task.trace) / task.trace.span_s))
    given = {"configuration": start, "objectives": task.objectives, "gpu_price": price}
    settings = replace(settings, environment_arguments=given)
    with TemporaryDirectory() as place:
        folder = Path(place) / "run"
        fitted = fit(settings, task.seed, folder, split, lambda line: None, False, HereTasks())
        actor, requests = export(settings, task.seed, folder, fitted.example, split.validation)
    policies = replace(start.policies, provisioning=PolicyChoice(ACTOR, {}, actor))
    note = f"one seed, best after {actor.trained['steps']:,} of {settings.steps:,} steps"
    return Made(replace(start, policies=policies), fitted.requests + requests, note)


def _split(trace: Trace) -> Split:
    """The searched part cut in two: to learn in, and to choose by. Nothing of it tests."""
    since_s = float(trace.arrival_s[0])
    middle_s = since_s + (1.0 - CHOOSE_SHARE) * trace.span_s
    choose = slice_time(trace, middle_s, since_s + trace.span_s + 1e-6)
    return Split(slice_time(trace, since_s, middle_s), choose, choose)


def plan(algorithm: str, split: Split, steps: float) -> Settings:
    """Settings that take `steps` decisions, those of the suite included, at most.

    Raises CannotLearnError if the trace is too short for a window of two minutes, or the budget for one update.
    """
    window_s = min(WINDOW_S, INTERVAL_S * (split.validation.span_s // INTERVAL_S))
    if window_s < 2 * INTERVAL_S:
        raise CannotLearnError(f"{algorithm} needs 8 minutes to learn in and to choose by at least, and a longer trace")
    each = int(window_s / INTERVAL_S)
    windows = max(1, min(LANES, int(EVALUATED * steps / ((EVALUATIONS + 1) * each))))
    left = int(steps) - ((EVALUATIONS + 1) * windows + 1) * each
    update, hyperparameters, lanes = _update(algorithm, each, left)
    if left < update:
        raise CannotLearnError(
            f"{algorithm} needs a larger budget: it pays for {int(steps)} decisions, not for one update"
        )
    hours = window_s / 3600.0
    return Settings(
        PROVISION,
        algorithm,
        steps=left // update * update,
        lanes=lanes,
        hours=hours,
        split_h=(hours, hours, hours),
        windows=windows,
        evaluations=EVALUATIONS,
        hyperparameters=hyperparameters,
    )


def _update(algorithm: str, each: int, left: int) -> tuple[int, dict[str, float], int]:
    """(decisions of an update, hyperparameters, lanes): as many windows an update as leave UPDATES of them."""
    windows = max(1, left // (UPDATES * each))
    if algorithm == "ars":
        directions = max(1, min(8, windows // 2))
        episodes = max(1, windows // (2 * directions))
        made: dict[str, float] = {"n_delta": directions, "n_top": (directions + 1) // 2, "n_eval_episodes": episodes}
        return 2 * directions * episodes * each, made | ARS, 1
    lanes = min(LANES, windows)
    return each * lanes, {"n_steps": each, "batch_size": min(240, each * lanes)} | PPO, lanes
