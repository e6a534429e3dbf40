"""Policies by address: compiled code asks the policies of a run through a table, as it reaches everything else.

Each policy is compiled into a function of plain numbers and addresses; one that routes also into a loop over
instances, with its code inside. A kernel that takes functions and arrays as arguments has to hand them from
call to call, some sixty words each time, and converting them costs 150 us a call from Python.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import float64, int64, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from slackwise.jit import compiled, part
from slackwise.policies.compilation import around, cost_of, stamped
from slackwise.policies.declare import Params, Policy
from slackwise.policies.features import INSTANCE, REQUEST
from slackwise.simulator.state import DECIDER, DECODE_ROUTING, ENCODE_ROUTING, MEMBER, ROLES, ROUTING, records
from slackwise.simulator.tables import decider_at, decider_of, member_at, record_at, request_at

_COST = float64(int64, int64, float64, int64)
_LOOP = int64(int64, int64, int64, int64, float64, int64)

_given: dict[int, Any] = {}
"""What was given away by address: functions and knobs for plain Python, compiled functions so that they stay."""


def _cost(request: int, instance: int, now: float, decider: int) -> float:
    """What the policy says; REQUEST, INSTANCE and DECIDER by address."""
    its = _decider_at(decider)
    return cost_of(_request_at(request), _instance_at(instance), now, _reals(its.params, its.knobs))


def _loop(request: int, instances: int, ready: int, count: int, now: float, decider: int) -> int:
    """The instance of lowest cost among `count` MEMBERs, ties to the first, of the INSTANCE records at `instances`."""
    best, best_cost, its = member_at(ready, 0).instance, np.inf, _decider_at(decider)
    params = _reals(its.params, its.knobs)
    for at in range(count):
        instance = member_at(ready, at).instance
        cost = cost_of(_request_at(request), record_at(instances, instance), now, params)
        if cost < best_cost:
            best, best_cost = instance, cost
    return best


@part
def ask(s: Any, role: int, request: Any, instance: Any, now: float) -> float:
    """What the policy of a role says about a request and an instance."""
    decider = decider_of(s, role)
    return _call_cost(decider.function, _address(request), _address(instance), now, _address(decider))


@part
def ask_all(s: Any, role: int, request: Any, ready: int, count: int, now: float) -> int:
    """The instance that the policy of a role finds cheapest among `count` ready ones, as routers see them."""
    decider = decider_of(s, role)
    return _call_loop(decider.loop, _address(request), s.shown_at, ready, count, now, _address(decider))


def deciders(decisions: list[tuple[Policy, Params]]) -> Any:
    """DECIDER (7,) of policies and knobs in the order of ROLES; the knobs have to outlive it."""
    table = records(len(ROLES), DECIDER)
    for at, (policy, params) in enumerate(decisions):
        loop = _code(policy, _loop) if at in (ENCODE_ROUTING, ROUTING, DECODE_ROUTING) else 0
        table[at] = _code(policy, _cost), loop, params.ctypes.data, len(params)
        if numba.config.DISABLE_JIT:
            _given[params.ctypes.data] = params
    return table


def _code(policy: Policy, shape: Callable[..., Any]) -> int:
    """Address of a policy in the shape of `_cost` or `_loop`."""
    if not numba.config.DISABLE_JIT:
        return _compiled(policy, shape)
    plain = around(shape, policy.compiled, policy.name)
    _given[id(plain)] = plain
    return id(plain)


@cache
def _compiled(policy: Policy, shape: Callable[..., Any]) -> int:
    _ = policy.compiled  # refuses what does not compile, in words
    function = stamped(around(shape, _inlined(policy.function), policy.name), REQUEST, INSTANCE, MEMBER, DECIDER)
    machine: Any = compiled(_COST if shape is _cost else _LOOP)(function)
    found = machine.overloads[machine.signatures[0]]
    address = int(found.library.get_pointer_to_function(found.fndesc.llvm_cfunc_wrapper_name))
    _given[address] = machine
    return address


def _inlined(function: Callable[..., float]) -> Callable[..., float]:
    """Like a part, but it may allocate, as a policy may."""
    return numba.njit(error_model="numpy", forceinline=True)(function)


def _call(signature: Any) -> Any:
    """How compiled code calls what is at the first argument with the others: under a C signature of plain numbers."""
    kinds = {int64: ir.IntType(64), float64: ir.DoubleType()}

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(kinds[signature.return_type], [kinds[each] for each in signature.args])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return signature.return_type(int64, *signature.args), generate


def _typed_cost(typingctx: Any, function: Any, request: Any, instance: Any, now: Any, params: Any) -> Any:
    return _call(_COST)


def _typed_loop(
    typingctx: Any, function: Any, request: Any, instances: Any, ready: Any, count: Any, now: Any, params: Any
) -> Any:
    return _call(_LOOP)


def _typed_address(typingctx: Any, record: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(arguments[0], ir.IntType(64))

    return int64(record), generate


def _typed_reals(typingctx: Any, address: Any, count: Any) -> Any:
    reals = types.Array(float64, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, long = context.make_array(reals)(context, builder), ir.IntType(64)
        data = builder.inttoptr(arguments[0], ir.DoubleType().as_pointer())
        populate_array(array, data, [arguments[1]], [long(8)], long(8), None)
        return array._getvalue()

    return reals(int64, int64), generate


def _plain_call(function: int, *arguments: Any) -> Any:
    return _given[function](*arguments)


def _plain_reals(address: int, _: int) -> Any:
    return _given[address]


def _first_record(address: int) -> Any:
    return record_at(address, 0)


def _itself(record: Any) -> Any:
    return record


_call_cost: Any
_call_loop: Any
_address: Any
_reals: Any
_request_at: Any
_instance_at: Any
_decider_at: Any
if numba.config.DISABLE_JIT:
    _call_cost = _call_loop = _plain_call
    _address = _request_at = _instance_at = _decider_at = _itself
    _reals = _plain_reals
else:
    _call_cost, _call_loop = intrinsic(_typed_cost), intrinsic(_typed_loop)
    _address, _reals = intrinsic(_typed_address), intrinsic(_typed_reals)
    _request_at, _instance_at, _decider_at = request_at, part(_first_record), decider_at
