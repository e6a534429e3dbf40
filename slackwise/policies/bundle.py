"""The policies of a service, chosen and knobbed: data, never code, with a JSON form that is checked when read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from slackwise.errors import InputError, unknown
from slackwise.policies.declare import ADMISSION, BATCHING, CHUNKING, PROVISIONING, ROUTING, Params, Policy
from slackwise.policies.keys import checked_keys
from slackwise.policies.knobs import Value, parse_value
from slackwise.policies.learned.actor import Actor, read_actor
from slackwise.policies.learned.policy import NAME as ACTOR
from slackwise.policies.learned.policy import actor_policy
from slackwise.policies.learned.router import router_policy
from slackwise.policies.registry import find

ROLES = {
    "encode_routing": ROUTING,
    "encode_batching": BATCHING,
    "chunking": CHUNKING,
    "routing": ROUTING,
    "batching": BATCHING,
    "decode_routing": ROUTING,
    "admission": ADMISSION,
    "provisioning": PROVISIONING,
}
"""What a service has to decide, and the family of policies that decides it."""

ACTORS = {"provisioning": "actor", "routing": "router"}
"""Roles that an actor may take, and the section of a winner.json that holds it."""

NO_ACTORS: Mapping[str, Actor] = MappingProxyType({})


@dataclass(frozen=True)
class PolicyChoice:
    """A policy by name, and the knobs that differ from their defaults (after validation: all of them).

    Of provisioning and routing the name may be the path of a .json file with an actor; the choice then holds it, and is
    "actor".
    """

    name: str
    knobs: Mapping[str, Value] = field(default_factory=dict)
    actor: Actor | None = None

    def policy(self, role: str) -> Policy:
        """The declared policy. Raises InputError for an unknown name, or an actor that is not there."""
        if self.actor is not None:
            return actor_policy(self.actor) if role == "provisioning" else router_policy(self.actor, ACTOR)
        if role in ACTORS and self.name == ACTOR:
            raise InputError(f"{role} 'actor' needs the file that holds the actor: {role}=FILE.json")
        return find(ROLES[role], self.name)


@dataclass(frozen=True)
class Policies:
    """One policy a role; on making, every name and knob is checked and every knob filled in.

    `encode_routing` and `encode_batching` rule the pool of encoders, `routing` and `batching` the instances with the
    LLM; on a monolith the latter two rule alone. `decode_routing` is asked where decodes have instances of their own,
    `admission` before the first token of each request.
    Raises InputError naming the closest known name or the range allowed.
    """

    encode_routing: PolicyChoice
    encode_batching: PolicyChoice
    chunking: PolicyChoice
    routing: PolicyChoice
    batching: PolicyChoice
    decode_routing: PolicyChoice = PolicyChoice("least_requests")
    admission: PolicyChoice = PolicyChoice("admit_all")
    provisioning: PolicyChoice = PolicyChoice("fixed_ratio")

    def __post_init__(self) -> None:
        for role in ROLES:
            object.__setattr__(self, role, _completed(role, getattr(self, role)))

    def policy(self, role: str) -> Policy:
        """The declared policy of `role`, one of ROLES."""
        return self._choice(role).policy(role)

    def params(self, role: str) -> Params:
        """The knobs of `role` as its policy takes them, float64, shape (number of knobs,)."""
        return self.policy(role).params(**self._choice(role).knobs)

    @property
    def resizes(self) -> bool:
        """Whether provisioning may change the fleet: all policies do but `fixed_ratio` without counts."""
        choice = self.provisioning
        return choice.name != "fixed_ratio" or any(value is not None for value in choice.knobs.values())

    def changed(self, settings: Iterable[str]) -> Policies:
        """These policies with `role=name` or `role.knob=value` applied in turn, as `--set` writes them.

        A new name starts at the defaults of its knobs. Raises InputError for what is not understood or not allowed.
        """
        policies = self
        for setting in settings:
            policies = policies._changed_once(setting)
        return policies

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: a name and all knobs for each role."""
        choices = {role: self._choice(role) for role in ROLES}
        return {role: {"name": choice.name, "knobs": dict(choice.knobs)} for role, choice in choices.items()}

    @classmethod
    def from_dict(cls, document: Any, modules: bool = False, actors: Mapping[str, Actor] = NO_ACTORS) -> Policies:
        """From the JSON form. Raises InputError for an unknown key, name or knob (naming the closest) or a bad value.

        A file is data: `module:function`, which would import a module, is refused unless `modules` allows it, and an
        actor is handed in for its role, not read from a path.
        """
        checked_keys("policies", document, ROLES, required_roles())
        choices = {role: _choice_from(role, each, modules) for role, each in document.items()}
        for role, actor in actors.items():
            choices[role] = replace(choices.get(role, PolicyChoice(ACTOR)), actor=actor)
        return cls(**choices)

    def _choice(self, role: str) -> PolicyChoice:
        if role not in ROLES:
            raise unknown("role", role, ROLES)
        choice: PolicyChoice = getattr(self, role)
        return choice

    def _changed_once(self, setting: str) -> Policies:
        path, equals, text = setting.partition("=")
        role, dot, knob = path.strip().partition(".")
        choice = self._choice(role)
        if not equals or not text.strip() or (dot and not knob):
            raise InputError(f"'{setting}' is not understood: write role=name or role.knob=value")
        if not dot:
            return replace(self, **{role: PolicyChoice(text.strip())})
        knobs = self.policy(role).knobs
        if knob not in knobs:
            raise unknown(f"knob of {choice.name}", knob, knobs)
        value = parse_value(knobs[knob], text.strip())
        return replace(self, **{role: replace(choice, knobs=dict(choice.knobs) | {knob: value})})


def required_roles() -> list[str]:
    """Roles without a default, which a service has to name."""
    return [each.name for each in fields(Policies) if each.default is MISSING]


def _completed(role: str, choice: PolicyChoice) -> PolicyChoice:
    if role in ACTORS and choice.name.endswith(".json"):
        choice = PolicyChoice(ACTOR, choice.knobs, read_actor(choice.name, ACTORS[role]))
    policy = choice.policy(role)
    policy.params(**choice.knobs)
    values = {name: choice.knobs.get(name, knob.default) for name, knob in policy.knobs.items()}
    return PolicyChoice(choice.name, {name: _plain(value) for name, value in values.items()}, choice.actor)


def _plain(value: Any) -> Value:
    """NumPy scalars, which a search may hand in, as the Python values that JSON knows."""
    return value.item() if hasattr(value, "item") else value  # type: ignore[no-any-return]


def _choice_from(role: str, document: Any, modules: bool) -> PolicyChoice:
    checked_keys(role, document, ("name", "knobs"), required=["name"])
    name, knobs = document["name"], document.get("knobs", {})
    if not isinstance(name, str) or not isinstance(knobs, dict):
        raise InputError(f"{role} needs a name in quotes and an object of knobs")
    if ":" in name and not modules:
        raise InputError(f"{role} names a module, '{name}': install it as a plug-in, or allow modules when reading")
    if name.endswith(".json"):
        raise InputError(f"{role} names a file, '{name}': a bundle holds its actor itself")
    return PolicyChoice(name, knobs)
