"""Services and traffic of the reproduction: what stands on which fleet, engine and reading of the counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.traces import synthesize
from slackwise.traces.resample import period_s
from slackwise.tuning.reproduce.services import TUNED, TUNED_TODAY, modserve, steps, tuned_for
from slackwise.tuning.reproduce.setting import ENGINES, INTERN, LLAMA, Setting
from slackwise.tuning.reproduce.traffic import one_after_another

SETTING = Setting()


@pytest.mark.parametrize("model", [LLAMA, INTERN])
def test_the_host_works_in_all_that_vllm_runs_and_in_nothing_else(model: str) -> None:
    plain, host = (steps(replace(SETTING, engine=engine), model, 128) for engine in ENGINES)
    for name, each in host.items():
        pairs = zip(plain[name].cluster.pools, each.cluster.pools, strict=True)
        engines = [(pool.engine, other.engine) for pool, other in pairs]
        assert set(engines) <= {ENGINES, ("transformers", "transformers")}
        assert ENGINES in engines
        back = tuple(replace(pool, engine=was) for pool, (was, _) in zip(each.cluster.pools, engines, strict=True))
        assert replace(each, cluster=replace(each.cluster, pools=back)) == plain[name]


def test_no_other_engine_runs_the_papers_services() -> None:
    with pytest.raises(InputError, match="unknown engine of the paper's services 'vllm'"):
        Setting(engine="vllm")


def test_what_was_tuned_comes_from_the_nearest_fleet_in_its_own_ratio() -> None:
    small, large = (modserve(SETTING, INTERN, gpus, text) for gpus, text in ((16, 2), (128, 24)))
    found = {INTERN: {TUNED: (small, large)}}
    assert list(tuned_for(INTERN, 32, found)) == [TUNED]  # nothing was tuned for today's engine
    assert tuned_for(LLAMA, 32, found) == {}
    for gpus, nearest in ((32, small), (64, large)):
        service = tuned_for(INTERN, gpus, found, (TUNED, TUNED_TODAY))[TUNED]
        assert service.cluster.gpus == gpus
        encoders, llms = service.cluster.pools
        ours, theirs = nearest.cluster.pools
        assert encoders.instances / llms.instances == ours.instances / theirs.instances


def test_traces_one_after_another_keep_what_each_says_of_its_images() -> None:
    read, raw = (synthesize(0, 50, 12.0, 0.2, image_count=count) for count in ("sqrt", "raw"))
    joined = one_after_another([read, raw])
    assert np.array_equal(joined.images, np.concatenate([read.images, raw.images]))
    assert np.array_equal(joined.arrival_s, np.concatenate([read.arrival_s, raw.arrival_s + period_s(read)]))
    assert np.array_equal(joined.output_tokens, np.concatenate([read.output_tokens, raw.output_tokens]))
    assert read.images.max() < raw.images.max()  # the two readings do differ here
