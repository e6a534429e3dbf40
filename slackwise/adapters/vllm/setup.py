"""From settings and a bundle to a mind: every check of what was given, and what of the bundle does not apply here."""

from __future__ import annotations

from dataclasses import dataclass

from slackwise.adapters.vllm.deadlines import ClassObjectives, class_objectives
from slackwise.adapters.vllm.estimates import estimator
from slackwise.adapters.vllm.mind import APPLIED, Mind
from slackwise.adapters.vllm.settings import Settings
from slackwise.errors import InputError
from slackwise.latency.catalogue import folded, resolve
from slackwise.latency.model import models
from slackwise.latency.profile import same_gpu
from slackwise.policies.bundle import ROLES
from slackwise.policies.winner import Winner, read_winner


@dataclass(frozen=True)
class Engine:
    """The engine that asks: the name or path of its model, its device as the driver calls it, GPUs of an instance."""

    model: str
    device: str
    tensor_parallel: int


@dataclass(frozen=True)
class Setup:
    """A mind and what goes with it."""

    winner: Winner
    objectives: ClassObjectives
    mind: Mind
    notes: tuple[str, ...]  # what of the bundle does not apply, one line each


def set_up(settings: Settings, engine: Engine) -> Setup:
    """Read the bundle and make it ready for `engine`.

    Raises InputError if it cannot be read, or was tuned for another model or GPU and is not forced; CheckError if its
    golden decisions do not come out the same here.
    """
    winner = read_winner(settings.bundle, settings.allow_modules)
    strange = strangers(winner, engine)
    if strange and not settings.force:
        raise InputError(f'{settings.bundle}: {strange[0]}; "force": true runs it all the same')
    predicted = estimator(winner.model, winner.gpu, winner.cluster, engine.tensor_parallel, settings.latency)
    objectives = class_objectives(winner.objectives, settings.objectives)
    mind = Mind(winner.policies, predicted, objectives.tightest_s, engine.tensor_parallel)
    return Setup(winner, objectives, mind, (*strange, *unapplied(winner)))


def strangers(winner: Winner, engine: Engine) -> list[str]:
    """In what the bundle was tuned for something else than the engine is."""
    found = []
    if not same_model(winner.model, engine.model):
        found.append(f"the bundle was tuned for model {winner.model}, the engine serves {engine.model}")
    if not same_gpu(engine.device, winner.gpu):
        found.append(f"the bundle was tuned for GPU {winner.gpu}, the engine runs on {engine.device or 'none'}")
    return found


def same_model(known: str, served: str) -> bool:
    """Whether `served`, a name or path that an engine was given, is the model of the catalogue called `known`.

    >>> same_model("InternVL2.5-26B", "OpenGVLab/InternVL2_5-26B")
    True
    """
    name = served.rstrip("/").rsplit("/", 1)[-1]
    if folded(known) in folded(name):
        return True
    try:
        return resolve("model", name, models()) == resolve("model", known, models())
    except InputError:
        return False


def unapplied(winner: Winner) -> list[str]:
    """Roles of the bundle that a scheduler inside one engine cannot play, if they are set to do anything."""
    idle = {"admission": "admit_all", "provisioning": "fixed_ratio"}
    document = winner.policies.to_dict()
    pools = winner.cluster.get("pools")
    lone = isinstance(pools, list | tuple) and len(pools) == 1 and pools[0].get("instances") == 1
    lines = []
    for role in ROLES:
        name = document[role]["name"]
        if role in APPLIED or name == idle.get(role) or (lone and role.endswith("routing")):
            continue
        if role == "encode_batching" and winner.cluster.get("topology", "monolith") == "monolith":
            continue
        lines.append(f"not applied inside one engine: {role} = {name}")
    return lines
