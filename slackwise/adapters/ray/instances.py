"""The instances of a bundle's pools by its cluster table: the costs of their steps, the rules of their engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slackwise.adapters.ray.fleet import named_tables, stage_bits
from slackwise.adapters.vllm.estimates import image_size_of
from slackwise.errors import InputError, unknown
from slackwise.latency.costs import StepCosts
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.profile import instance_costs
from slackwise.latency.roofline import roofline
from slackwise.latency.rules import EngineRules, load_rules
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.winner import Winner

ENGINE = "vllm"
"""Of a pool that names none."""


def pool_table(winner: Winner, pool: str) -> Mapping[str, Any]:
    """What the bundle says of a pool. Raises InputError with the closest name."""
    tables = named_tables(winner)
    if pool not in tables:
        raise unknown("pool of the bundle", pool, tables)
    return tables[pool]


def pool_rules(winner: Winner, pool: str) -> EngineRules:
    """The rules of the pool's engine."""
    return load_rules(str(pool_table(winner, pool).get("engine", ENGINE)))


def pool_costs(winner: Winner, table: Mapping[str, Any]) -> StepCosts:
    """Costs of an instance of a pool: of its profile if it has one, else of the roofline, as in the simulator.

    Raises InputError if the model does not fit its GPUs or the profile is not of such an instance.
    """
    bits, width = stage_bits(table), int(table.get("tensor_parallel", 1))
    encode, llm = bool(bits & ENCODE), bool(bits & (PREFILL | DECODE))
    gpu, model = str(table.get("gpu") or winner.gpu), load_model(winner.model)
    if table.get("profile") is not None:
        return instance_costs(Path(table["profile"]), model.name, gpu, width, encode, llm)
    engine = str(table.get("engine", ENGINE))
    engine = ENGINE if engine == "transformers" else engine
    return roofline(model, load_gpu(gpu), width, engine, image_size_of(winner.cluster), encode, llm)


def request_costs(winner: Winner) -> StepCosts:
    """What the estimates of a request are made of: the encoders' costs for its images, the prefill pool's for the rest.

    Raises InputError as `pool_costs` does.
    """
    tables = list(named_tables(winner).values())
    prefills = next((each for each in tables if stage_bits(each) & PREFILL), None)
    if prefills is None:
        raise InputError("the bundle has no pool that prefills")
    encodes = next((each for each in tables if stage_bits(each) & ENCODE), prefills)
    costs, encoder = pool_costs(winner, prefills), pool_costs(winner, encodes)
    record = costs.record.copy()
    for name in ("encode_step_s", "encode_s_per_tile"):
        record[name] = encoder.record[name]
    return replace(costs, record=record)
