"""The published rows of the Azure traces run through every preset."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.simulator import PRESETS, Simulation, isolated, preset, result_of, summary
from slackwise.simulator.invariants import check
from slackwise.traces import Trace, read, slice_time
from tests.shared import shared_data
from tests.simulator.cases import CROSS_ATTENTION, DECODER_ONLY

LOOKS = 40
"""Times at which the invariants are looked at in a run."""


def served(trace: Trace, name: str, model: str, gpus: int) -> Simulation:
    """The trace under a preset, its invariants looked at now and then."""
    configuration = preset(name, model, gpus=gpus)
    run = Simulation(trace, configuration, isolated(configuration.cluster))
    for until_s in np.linspace(trace.arrival_s[0], trace.arrival_s[-1], LOOKS):
        run.run_until(float(until_s))
        check(run.state)
    run.run_until()
    check(run.state)
    return run


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("model", [CROSS_ATTENTION, DECODER_ONLY])
def test_the_published_rows_with_images_are_served(name: str, model: str) -> None:
    trace = read(shared_data("azure_lmm_2025_rows_2000.csv"))
    run = served(trace, name, model, gpus=128)
    result = result_of(run)
    assert len(trace) == 2000
    assert run.done
    assert not run.rejected.any()
    assert np.isfinite(result.end_to_end_s).all()
    assert run.state.tbt.tokens.sum() == np.maximum(0, np.maximum(1, trace.output_tokens) - 1).sum()
    classes = summary(result)["classes"]
    assert classes["text-only"]["requests"] + classes["image"]["requests"] <= classes["all"]["requests"] == 2000
    assert classes["text-only"]["ttft_s"]["p50"] < classes["image"]["ttft_s"]["p50"]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("file", ["azure_llm_2023_code.csv", "azure_llm_2023_conv.csv"])
def test_the_text_traces_of_2023_are_served(file: str, name: str) -> None:
    trace = read(shared_data(file))
    begin = slice_time(trace, 0.0, 600.0)
    assert len(begin) > 500
    result = result_of(served(begin, name, CROSS_ATTENTION, gpus=16))
    assert np.isfinite(result.end_to_end_s).all()
    assert list(summary(result)["classes"]) == ["all", "text-only"]
    assert result.met.mean() > 0.5
