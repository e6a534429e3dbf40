"""A replica without a model: it batches as an engine does, by the bundle's policies, and takes the modelled times.

What it reports of itself is what routers and provisioning read of a real one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from slackwise.adapters.ray.batch import Batch
from slackwise.adapters.ray.books import MADE_S, REPORTED
from slackwise.adapters.ray.counts import Arrivals, replica_id
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.hot import parse_bundle
from slackwise.adapters.ray.instances import pool_costs, pool_rules, pool_table
from slackwise.adapters.ray.pace import Pace
from slackwise.adapters.ray.sequences import Sequence, sequence_of
from slackwise.adapters.ray.workload import call_features, work_for
from slackwise.adapters.vllm.estimates import Estimator
from slackwise.adapters.vllm.mind import Mind
from slackwise.errors import InputError
from slackwise.policies.features import ENCODE, PREFILL
from slackwise.policies.winner import Winner

WORD = "token "


def batch_of(winner: Winner, size: FleetPool) -> Batch:
    """An empty batch of an instance of a pool, under the rules of the pool's engine."""
    costs, rules = pool_costs(winner, pool_table(winner, size.name)), pool_rules(winner, size.name)
    work = work_for(winner, size.tensor_parallel)
    model = work.predicted.model
    predicted = Estimator(costs, model, work.predicted.image_size)
    role = "encode_batching" if size.stages == ENCODE else "batching"
    mind = Mind(winner.policies, predicted, work.tightest_ttft_s, size.tensor_parallel, role)
    mind.instance.stages = size.stages
    return Batch(mind, rules, costs, rules.encoder_tokens(model), rules.encoder_cache(model))


class EmulatedReplica:
    """One instance of a pool. `speed` divides all times: 10 serves ten times as fast as the GPU."""

    def __init__(self, pool: dict[str, Any], speed: float, text: str) -> None:
        winner = parse_bundle(text)
        self.size, self.names = FleetPool.from_dict(pool), itertools.count()
        self.work = work_for(winner, self.size.tensor_parallel)
        self.pace, self.arrivals = Pace(batch_of(winner, self.size), speed), Arrivals(self.size.stages)
        self.mute = False
        self._rehearse(batch_of(winner, self.size))

    async def encode(self, call: dict[str, Any]) -> dict[str, Any]:
        """Encode one image; who did, and how long it was here in seconds of the modelled instance."""
        each = self._sequence(call)
        async with aclosing(self.pace.serve(each)) as bunches:
            async for _ in bunches:
                pass
        return {"replica": replica_id(), "took_s": each.first_s - each.entered_s}

    async def generate(self, call: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The pieces of an answer (path.py); the first says how long its token took in the modelled instance.

        The answer is as long as it may be, or as the class's usual one where the request does not say.
        """
        each = self._sequence(call)
        self.arrivals.add(call, each.features)
        streams = bool((call.get("body") or {}).get("stream"))
        about: dict[str, Any] = {"replica": replica_id(), "pool": self.size.name}
        if self.size.stages & PREFILL:
            about["prompt_tokens"] = int(each.features["prompt_tokens"][0])
        try:
            async with aclosing(self.pace.serve(each, streams)) as bunches:
                async for tokens in bunches:
                    took = {"took_s": each.first_s - each.entered_s} if about else {}
                    ended = "length" if each.generated >= self._wanted(call, each.features) else None
                    yield {**about, **took, "text": WORD * tokens, "tokens": tokens, "finish_reason": ended}
                    about = {}
        except InputError as error:
            yield {"error": str(error), "status": 400}

    def record_routing_stats(self) -> dict[str, Any]:
        """What routers read."""
        if self.mute:
            raise RuntimeError("this replica reports nothing")
        now, wall_s, seen = self.pace.now(), time.time(), self.pace.batch.seen
        report = {name: seen[name].item() for name in REPORTED}
        for name in ("busy_since_s", "busy_until_s"):
            report[name] = max(0.0, wall_s + report[name] - now) if report[name] else 0.0
        return report | {MADE_S: wall_s}

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What provisioning reads."""
        seen, busy = self.pace.batch.seen, self.pace.busy()
        pending = float(seen.pending_image_tokens + seen.pending_text_tokens)
        names = ("waiting", "running", "backlog_s", "kv_used_tokens", "kv_capacity_tokens")
        counts = {name: float(seen[name]) for name in names}
        return counts | {"busy": busy, "pending_tokens": pending} | self.arrivals.counts

    async def ail(self, ailments: Mapping[str, Mapping[str, Any]]) -> None:
        """Play a fault: be `slow` times slower, be `mute`; by the id of the replica that it is to befall."""
        ailment = ailments.get(replica_id())
        if ailment is not None:
            self.pace.slow, self.mute = float(ailment.get("slow", 1.0)), bool(ailment.get("mute", False))

    def _sequence(self, call: Mapping[str, Any]) -> Sequence:
        """A call as work of this instance, on its clock."""
        arrival_s = float(call["arrival_s"]) * self.pace.speed
        features = call_features(self.work, {**call, "arrival_s": arrival_s})
        wanted = self._wanted(call, features)
        return sequence_of(str(next(self.names)), features, self.size.stages, wanted, self.work.predicted.model)

    def _wanted(self, call: Mapping[str, Any], features: Any) -> int:
        return int(call["max_tokens"] or features["output_estimate_tokens"][0])

    def _rehearse(self, batch: Batch) -> None:
        """Compile all that a step needs now, not in front of the first request."""
        kind = "encode" if self.size.stages == ENCODE else "text"
        call = {"kind": kind, "images": 1, "characters": 400, "max_tokens": 3, "encoded": False, "arrival_s": 0.0}
        for _ in range(2):
            batch.add(self._sequence(call))
        at = 0.0
        while batch.busy:
            step = batch.compose(at)
            at += step.seconds
            batch.finish(step, at)
