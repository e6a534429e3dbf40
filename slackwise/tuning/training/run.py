"""One training run: a folder with all that it was told and all that came out.

config.yml  args.yml  command.txt   what it was told (JSON, which is YAML)
evaluations.npz                     timesteps (k,), results (k, windows): scores on the hours to choose on
checkpoints/rl_model_N_steps.zip    the model at each evaluation
best_model.zip                      the one with the best mean score there
0.monitor.csv                       episodes of the learner; 1.monitor.csv after it was resumed
actor.json                          the best model as data (policies.learned.actor)
result.json                         what the actor is worth on the hours to test on
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor

import slackwise
from slackwise.env.base import ServiceEnv
from slackwise.env.knobs import KnobsEnv
from slackwise.env.provision import ProvisionEnv
from slackwise.errors import InputError
from slackwise.files import write_text
from slackwise.policies.learned.actor import Actor, write_actor
from slackwise.traces import Split, Trace
from slackwise.tuning.tasks import HereTasks, Tasks
from slackwise.tuning.training import learner
from slackwise.tuning.training.environments import Scaled, lanes, parts, served, single
from slackwise.tuning.training.evaluation import Floats, always, by_actor, interval, provisioned, scores
from slackwise.tuning.training.export import actor_of, check_interval, network
from slackwise.tuning.training.rollouts import Candidates, Rollouts
from slackwise.tuning.training.settings import DISPATCH, Settings
from slackwise.tuning.training.timed import BUFFERS, Discounts
from slackwise.tuning.training.watch import Judge, Say

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t with 1 to 9 degrees of freedom."""


def train(
    settings: Settings,
    seed: int,
    folder: Path,
    say: Say,
    resume: bool = False,
    against: Mapping[str, Floats] | None = None,
    tasks: Tasks | None = None,
    split: Split | None = None,
) -> dict[str, Any]:
    """Train with one seed, leave `folder` as above and return what is in result.json.

    With `resume` the run goes on from its last checkpoint up to `settings.steps`. `against` are scores of `rivals`, to
    which those of the actor in their loop are compared. Episodes of suites and of ARS run as `tasks`. `split` are the
    parts of the trace, if they are at hand. Raises InputError if the folder is there already, or, with `resume`, if it
    is not of these settings; nothing is overwritten.
    """
    split, running = split or parts(settings), tasks or HereTasks()
    check_folder(settings, seed, folder, resume)
    example = fit(settings, seed, folder, split, say, resume, running).example
    result = _test(settings, seed, folder, example, split, running)
    if against:
        actor = provisioned(single(settings, split.test), str(folder / "actor.json"), settings.windows)
        result |= {"served": float(actor.mean()), "policies": _compared(actor, against)}
    write_text(folder / "result.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
    return result


def fit(settings: Settings, seed: int, folder: Path, split: Split, say: Say, resume: bool, tasks: Tasks) -> Fitted:
    """Learn on one part of the trace, choose on the next: `folder` then holds the best model."""
    env = lanes(settings, split.train, settings.lanes)
    example = single(settings, split.train)
    check_interval(example)
    example.reset(seed=0)
    torch.set_num_threads(1)
    model = (learner.load if resume else learner.make)(settings, Scaled(env, settings.reward_scale), seed, folder)
    if not resume and isinstance(example, ProvisionEnv | KnobsEnv):
        learner.begin_at(model, example.default_action)
    open_folder(settings, seed, folder)
    suite, episodes = Rollouts(tasks, settings, split.validation), Rollouts(tasks, settings, split.train)
    _learn(settings, model, folder, suite, episodes, say, lambda trained: network(trained, example), seed)
    return Fitted(example, served(env) + suite.requests + episodes.requests)


@dataclass(frozen=True)
class Fitted:
    """An environment like that of the training, and the requests that were simulated in it."""

    example: ServiceEnv
    requests: int


def check_folder(settings: Settings, seed: int, folder: Path, resume: bool) -> None:
    """Raise InputError unless the folder is free or, with `resume`, of these settings."""
    if resume:
        _check_same(folder / "config.yml", settings.to_dict() | {"seed": seed})
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds a run already: resume it (--resume), or choose another folder")


def open_folder(settings: Settings, seed: int, folder: Path) -> None:
    """Make the folder and write down what the run was told."""
    (folder / learner.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    versions = {"slackwise": slackwise.__version__, "torch": torch.__version__, "numpy": np.__version__}
    write_text(folder / "config.yml", json.dumps(settings.to_dict() | {"seed": seed}, indent=2) + "\n")
    write_text(folder / "args.yml", json.dumps({"argv": sys.argv, "versions": versions}, indent=2) + "\n")
    write_text(folder / "command.txt", " ".join(sys.argv) + "\n")


def _check_same(path: Path, document: dict[str, Any]) -> None:
    """Raise InputError unless the run at `path` was told the same, but for its steps and evaluations."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path.parent} holds no run to resume") from None
    for name in document:
        if name not in ("steps", "evaluations") and document[name] != kept.get(name):
            raise InputError(f"{path.parent} was trained with {name} = {kept.get(name)!r}, not {document[name]!r}")


def _learn(
    settings: Settings,
    model: Any,
    folder: Path,
    suite: Rollouts,
    episodes: Rollouts,
    say: Say,
    actor: Callable[[Any], Actor],
    seed: int,
) -> None:
    """Learn what is left of the steps."""
    before = len(list(folder.glob("*.monitor.csv")))
    watched = VecMonitor(model.env, str(folder / f"{before}.monitor.csv"))
    model.set_env(watched)
    left = settings.steps - model.num_timesteps
    if left <= 0:
        return
    every = max(1, settings.steps // settings.evaluations)
    callbacks: list[BaseCallback] = [Judge(lambda each: suite.suite(actor(each)), every, settings.steps, folder, say)]
    callbacks += [Discounts()] if settings.environment == DISPATCH and settings.algorithm in BUFFERS else []
    given: dict[str, Any] = {}
    if settings.algorithm == "ars":
        given["async_eval"] = Candidates(model, episodes, actor, seed)
    since_s = time.process_time()
    try:
        model.learn(left, callback=callbacks, reset_num_timesteps=model.num_timesteps == 0, **given)
    finally:
        watched.close()
    say(f"{left:,} steps in {time.process_time() - since_s:.0f} CPU seconds")


def export(settings: Settings, seed: int, folder: Path, example: ServiceEnv, part: Trace) -> tuple[Actor, int]:
    """The best model of a run as an actor, checked on a window of `part` and written, and that window's requests."""
    model = learner.load_best(settings, folder)
    observed: list[NDArray[np.float32]] = []
    env = lanes(settings, part, 1)
    scores(env, by_actor(network(model, example), env.action_space), observed)
    steps, told = int(model.num_timesteps), settings.to_dict()
    trained = {"algorithm": settings.algorithm, "seed": seed, "steps": steps, "settings": told}
    actor = actor_of(model, example, observed, trained)
    write_actor(folder / "actor.json", actor)
    return actor, served(env)


def _test(
    settings: Settings, seed: int, folder: Path, example: ServiceEnv, split: Split, tasks: Tasks
) -> dict[str, Any]:
    """Export the best model and judge it, beside the action that changes nothing, on hours that nobody chose by."""
    actor, _ = export(settings, seed, folder, example, split.validation)
    found = Rollouts(tasks, settings, split.test).suite(actor)
    result: dict[str, Any] = {
        "seed": seed,
        "steps": settings.steps,
        "best_steps": actor.trained["steps"],
        "score": float(found.mean()),
    }
    if isinstance(example, ProvisionEnv | KnobsEnv):
        default = scores(lanes(settings, split.test, settings.windows), always(example.default_action))
        result |= {"default": float(default.mean()), "difference": interval(found - default)}
    return result | {"windows": found.tolist()}


def rivals(settings: Settings, names: Sequence[str]) -> dict[str, Floats]:
    """Scores of provisioning policies on the windows to test on, by name."""
    env = single(settings, parts(settings).test) if names else None
    return {name: provisioned(env, name, settings.windows) for name in names} if env else {}


def _compared(actor: Floats, against: Mapping[str, Floats]) -> dict[str, Any]:
    """Scores of provisioning policies, and what those of the actor are above them, window by window."""
    return {
        name: {"score": float(theirs.mean()), "difference": interval(actor - theirs)}
        for name, theirs in against.items()
    }


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over seeds of the score, and of the difference to the default action with its 95 % t-interval."""
    found: dict[str, Any] = {"seeds": len(results), "score": float(np.mean([each["score"] for each in results]))}
    for name in results[0].get("policies", {}):
        means = [each["policies"][name]["difference"]["mean"] for each in results]
        theirs = float(np.mean([each["policies"][name]["score"] for each in results]))
        found.setdefault("policies", {})[name] = {"score": theirs, "difference": over_seeds(means)}
    if "default" in results[0]:
        found["default"] = results[0]["default"]
        found["difference"] = over_seeds([each["difference"]["mean"] for each in results])
    return found


def over_seeds(means: Sequence[float]) -> dict[str, float]:
    """The mean over seeds and, of two or more, its 95 % interval by Student's t."""
    found = {"mean": float(np.mean(means))}
    if len(means) < 2:
        return found
    half = T_95[min(len(means) - 1, len(T_95)) - 1] * float(np.std(means, ddof=1)) / len(means) ** 0.5
    return found | {"low": found["mean"] - half, "high": found["mean"] + half}
