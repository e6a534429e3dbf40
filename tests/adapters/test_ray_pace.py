"""Emulated instances in real time, much too fast: who is told what, and what an abandoned call leaves behind."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import asdict

import pytest

from slackwise.adapters.ray.emulated import batch_of
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.pace import Pace
from slackwise.adapters.ray.sequences import Sequence, sequence_of
from slackwise.adapters.ray.workload import Asked, work_for
from slackwise.errors import InputError
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.winner import Winner
from slackwise.simulator import Cluster, Pool, isolated, preset

MODEL, GPU, IMAGE = "LLaVA-OneVision-7B", "A100-80GB", {"type": "image_url"}


class Instance:
    """An instance of one pool of E+P+D or of PD, and calls for it."""

    def __init__(self, pool: str, stages: int) -> None:
        apart = (Pool("P", 1), Pool("D", 1)) if pool != "pd" else (Pool("PD", 1),)
        cluster = Cluster(MODEL, GPU, (Pool("E", 1, 1, "transformers"), *apart))
        document = asdict(cluster) | {"topology": cluster.topology}
        policies = preset("modserve", MODEL, GPU, 8).policies
        winner = Winner(policies, MODEL, GPU, document, isolated(cluster).to_json(), {})
        self.work, self.stages = work_for(winner, 1), stages
        self.pace, self.calls = Pace(batch_of(winner, FleetPool(pool, stages, 1, 1, 1, 1)), 1000.0), 0

    def call(self, tokens: int, images: int = 0, characters: int = 400) -> Sequence:
        self.calls += 1
        request = self.work.request(Asked((IMAGE,) * images, characters, tokens), self.pace.now())
        features = self.work.job(request) if self.stages == ENCODE else self.work.encoded(request)
        return sequence_of(str(self.calls), features, self.stages, tokens, self.work.predicted.model)

    async def serve(self, each: Sequence, streams: bool = False) -> list[int]:
        return [tokens async for tokens in self.pace.serve(each, streams)]


def test_who_does_not_stream_hears_of_the_first_token_and_of_the_end() -> None:
    instance = Instance("pd", PREFILL | DECODE)
    each = instance.call(4000)
    assert asyncio.run(instance.serve(each)) == [1, 3999]
    assert instance.pace.batch.seen.running == instance.pace.batch.seen.kv_used_tokens == 0
    assert each.first_s > each.entered_s


def test_who_streams_hears_in_between() -> None:
    instance = Instance("pd", PREFILL | DECODE)
    bunches = asyncio.run(instance.serve(instance.call(40_000), streams=True))
    assert bunches[0] == 1
    assert len(bunches) > 2
    assert sum(bunches) == 40_000


@pytest.mark.parametrize(("pool", "stages", "tokens"), [("e", ENCODE, 0), ("p", PREFILL, 1), ("d", DECODE, 9)])
def test_pools_of_one_stage_do_that_stage(pool: str, stages: int, tokens: int) -> None:
    instance = Instance(pool, stages)
    assert sum(asyncio.run(instance.serve(instance.call(10, images=1)))) == tokens


def test_many_at_once_are_all_served_and_share_steps() -> None:
    instance = Instance("pd", PREFILL | DECODE)

    async def everyone() -> list[list[int]]:
        return await asyncio.gather(*(instance.serve(instance.call(50 + at)) for at in range(60)))

    assert [sum(bunches) for bunches in asyncio.run(everyone())] == [50 + at for at in range(60)]
    assert instance.pace.batch.seen.steps < 60 * 80 / 4


def test_a_reader_who_is_busy_while_the_answer_ends_gets_the_rest() -> None:
    instance = Instance("pd", PREFILL | DECODE)

    async def slowly() -> list[int]:
        each, found = instance.call(3), []
        async for tokens in instance.pace.serve(each):
            found.append(tokens)
            while not each.gone:
                await asyncio.sleep(0)
        return found

    assert asyncio.run(slowly()) == [1, 2]


def test_a_call_that_nobody_reads_any_more_is_given_up() -> None:
    instance = Instance("pd", PREFILL | DECODE)

    async def leave() -> None:
        async with aclosing(instance.pace.serve(instance.call(10**4))) as bunches:
            assert await anext(bunches) == 1

    asyncio.run(leave())
    assert not instance.pace.batch.busy
    assert instance.pace.readers == {}


def test_a_call_beyond_the_kv_cache_is_refused_and_leaves_nothing() -> None:
    instance = Instance("pd", PREFILL | DECODE)
    with pytest.raises(InputError, match="KV cache"):
        asyncio.run(instance.serve(instance.call(10**9)))
    assert not instance.pace.batch.busy
    assert instance.pace.readers == {}
