"""The plug-in in a whole engine: a tiny model that computes, and the emulated device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slackwise.adapters.vllm.counters import read_counters
from slackwise.adapters.vllm.explain import read_decisions, sentences, story, waits
from tests.adapters.bundles import bundle

PLUG_IN = "slackwise.adapters.vllm.SlackwiseScheduler"
EMULATED = "slackwise.adapters.vllm.EmulatedExecutor"

SLO_MS = [
    900_000,
    800_000,
    50_000,
    700_000,
    40_000,
    600_000,
    30_000,
    500_000,
    20_000,
    400_000,
]  # further apart than arrivals
WITH_IMAGES = (1, 5)


def engine(tiny: Path, scheduler: str | None, additional: dict[str, Any], **more: Any) -> Any:
    """An offline engine of two seats in this process."""
    from vllm import LLM

    return LLM(
        model=str(tiny),
        load_format="dummy",
        dtype="float32",
        max_model_len=2048,
        max_num_seqs=2,
        max_num_batched_tokens=512,
        enforce_eager=True,
        kv_cache_memory_bytes=64 << 20,
        seed=0,
        limit_mm_per_prompt={"image": 8},
        enable_prefix_caching=False,
        scheduler_cls=scheduler,
        additional_config=additional,
        **more,
    )


def served(llm: Any) -> tuple[list[int], list[dict[str, int]], list[list[int]]]:
    """Ten requests at once: the order of their admissions, images by step, output tokens."""
    from PIL import Image
    from vllm import SamplingParams

    scheduler = llm.llm_engine.engine_core.engine_core.scheduler
    inner, outputs = scheduler.schedule, []

    def schedule(*args: Any, **kwargs: Any) -> Any:
        outputs.append(inner(*args, **kwargs))
        return outputs[-1]

    scheduler.schedule = schedule
    rng, prompts = np.random.default_rng(0), []
    for at in range(len(SLO_MS)):
        count = 4 if at in WITH_IMAGES else 0
        prompt: dict[str, Any] = {"prompt": "user " + "<image> " * count + f"describe {at} " + "hello " * 20}
        if count:
            pixels = [rng.integers(0, 255, (150, 200, 3), dtype=np.uint8) for _ in range(count)]
            prompt["multi_modal_data"] = {"image": [Image.fromarray(each) for each in pixels]}
        prompts.append(prompt)
    sampling = [
        SamplingParams(max_tokens=4, temperature=0, ignore_eos=True, extra_args={"slo_ms": slo}) for slo in SLO_MS
    ]
    results = llm.generate(prompts, sampling, use_tqdm=False)
    order = [int(new.req_id.split("-")[0]) for each in outputs for new in each.scheduled_new_reqs]
    images = [{name: len(found) for name, found in each.scheduled_encoder_inputs.items()} for each in outputs]
    return order, [step for step in images if step], [list(each.outputs[0].token_ids) for each in results]


def test_a_computing_engine_serves_by_slack_and_one_image_a_step_and_says_why(tiny: Path, tmp_path: Path) -> None:
    path = bundle(tmp_path / "w.json", "batching=least_slack", "chunking=k_images", "chunking.images=1")
    decisions, counts = tmp_path / "decisions.jsonl", tmp_path / "counters"
    settings = {"bundle": str(path), "force": True, "decisions": str(decisions), "counters": str(counts)}
    stock = served(engine(tiny, None, {}))
    assert stock[0] == sorted(stock[0])
    llm = engine(tiny, PLUG_IN, {"slackwise": settings})
    order, images, tokens = served(llm)
    assert order == sorted(range(len(SLO_MS)), key=SLO_MS.__getitem__)
    assert all(count == 1 for step in images for count in step.values())
    assert sum(count for step in images for count in step.values()) == 8
    assert tokens == stock[2]
    conductor = llm.llm_engine.engine_core.engine_core.scheduler.conductor
    assert conductor.counters.fallbacks == 0
    assert conductor.counters.first_tokens == [8, 2]
    conductor.counters.publish()
    found = read_counters(counts)
    assert found is not None
    assert int(found["admitted"]) == len(SLO_MS)
    assert (found["requests"].tolist(), int(found["images"])) == ([8, 2], 8)
    assert int(found["image_tokens"]) == 8 * 64
    conductor.close()
    assert not counts.exists()
    rows = read_decisions(decisions)
    assert rows[0]["limits"]["sequences"] == 2
    name = next(row["id"] for row in rows if row["e"] == "add" and row["id"].startswith("0-"))
    told = story(rows, name)
    assert told.waited_s is not None
    assert told.added["source"] == "request"
    assert "sequences" in told.held_s
    assert any("as many requests run" in line for line in sentences(told))
    assert waits(rows)[0][0].split("-")[0] in ("0", "1")
    json.dumps(told.to_json(), allow_nan=False)


def test_an_emulated_engine_takes_the_order_of_the_plug_in_too(tiny: Path, tmp_path: Path) -> None:
    path = bundle(tmp_path / "w.json", "batching=least_slack")
    additional = {
        "slackwise": {"bundle": str(path), "force": True},
        "emulated": {"model": "LLaVA-OneVision-7B", "gpu": "A100-80GB"},
    }
    order, _, tokens = served(engine(tiny, PLUG_IN, additional, distributed_executor_backend=EMULATED))
    assert order == sorted(range(len(SLO_MS)), key=SLO_MS.__getitem__)
    assert {len(each) for each in tokens} == {4}


@pytest.mark.parametrize(("emulated", "words"), [({"gpus": 1}, "unknown setting"), ({"model": 3}, "must be a text")])
def test_settings_of_the_emulator_are_checked(vllm: Any, emulated: dict[str, Any], words: str) -> None:
    from slackwise.adapters.vllm.emulator import read_emulated
    from slackwise.errors import InputError

    with pytest.raises(InputError, match=words):
        read_emulated({"emulated": emulated})


def test_counters_become_prometheus_metrics(vllm: Any) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    from slackwise.adapters.vllm.counters import COUNTERS, Counters
    from slackwise.adapters.vllm.metrics import families

    counters = Counters()
    counters.admission(True, -0.5, True)
    counters.first_token(True, True)
    counters.policy_time(50e-6)
    counters.arrival([64, 64], 140)
    counters.pending[1] = 128.0
    values = np.zeros(1, COUNTERS)
    values[0] = counters.record()

    class Once:
        def collect(self) -> Any:
            return families(values[0], {"model_name": "m", "engine": "0"})

    registry = CollectorRegistry()
    registry.register(Once())  # type: ignore[arg-type, unused-ignore]
    text = generate_latest(registry).decode()
    assert 'slackwise:reorders_total{engine="0",model_name="m"} 1.0' in text
    assert 'slackwise:ttft_attainment{class="image",engine="0",model_name="m"} 1.0' in text
    assert 'slackwise:admission_slack_seconds_bucket{class="image",engine="0",le="-0.3",model_name="m"} 1.0' in text
    assert 'slackwise:requests_total{class="image",engine="0",model_name="m"} 1.0' in text
    assert 'slackwise:image_tokens_total{engine="0",model_name="m"} 128.0' in text
    assert 'slackwise:text_tokens_total{engine="0",model_name="m"} 12.0' in text
    assert 'slackwise:pending_image_tokens{engine="0",model_name="m"} 128.0' in text
    assert 'slackwise:policy_seconds_count{engine="0",model_name="m"} 1.0' in text
