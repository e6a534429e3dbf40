"""Event logs as files: Parquet holds every row, the Chrome trace is one that a viewer can open."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.simulator import Cluster, EventLog, Pool, Simulation, event_log, write_events
from slackwise.simulator.chrome_trace import Row, phases
from slackwise.simulator.events_file import METADATA
from slackwise.simulator.log import KINDS
from tests.simulator.cases import DECODER_ONLY, OBJECTIVES, Shape, apart, configuration, random_simulation, trace_of
from tests.simulator.test_equality import shapes


def log_of(shape: Shape, seed: int, limit: int = 100_000) -> EventLog:
    """The log of a random case."""
    run = random_simulation(shape, seed)
    run.keep_log(limit)
    run.run_until()
    return event_log(run)


@pytest.fixture(scope="module")
def log() -> EventLog:
    """Of separate encoders, prefill and decode."""
    return log_of(Shape("E+P+D", requests=30), 3)


def traced(log: EventLog, path: Path) -> list[dict[str, Any]]:
    """The events of the Chrome trace of a log."""
    write_events(log, path)
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    events: list[dict[str, Any]] = json.loads(text)["traceEvents"]
    return events


def test_parquet_holds_every_row_and_what_it_is_of(log: EventLog, tmp_path: Path) -> None:
    write_events(log, tmp_path / "log.parquet")
    table = parquet.read_table(tmp_path / "log.parquet")
    for name in log.rows.dtype.names:
        told = table.column(name).to_pylist() if name == "kind" else table.column(name).to_numpy()
        expected = [KINDS[each] for each in log.rows.kind] if name == "kind" else log.rows[name]
        np.testing.assert_array_equal(told, expected)
    instances, pools = (table.column(name).to_numpy() for name in ("instance", "pool"))
    np.testing.assert_array_equal(pools[instances >= 0], log.pool[instances[instances >= 0]])
    assert (pools[instances < 0] == -1).all()
    about = json.loads(table.schema.metadata[METADATA])
    assert about["pools"] == list(log.pools)
    assert about["left_out"] == 0
    assert about["cluster"].startswith(DECODER_ONLY)


def test_every_step_is_a_slice_of_its_instance_in_microseconds(log: EventLog, tmp_path: Path) -> None:
    slices = [event for event in traced(log, tmp_path / "log.json") if event["ph"] == "X"]
    steps = log.of("step")
    assert len(slices) == len(steps)
    for event, step in zip(slices, steps, strict=True):
        assert (event["tid"], event["pid"]) == (step.instance, log.pool[step.instance])
        assert event["ts"] == pytest.approx(1e6 * step.since_s, abs=1e-3)
        assert event["dur"] == pytest.approx(1e6 * (step.time_s - step.since_s), abs=1e-3)
        assert {name: event["args"][name] for name in ("steps", "tokens")} == {
            "steps": step.steps,
            "tokens": step.tokens,
        }
        parts = {"encode": step.images, "prefill": step.tokens, "decode": step.decodes}
        assert event["name"].split("+") == [name for name, inside in parts.items() if inside > 0]


def test_the_slices_of_an_instance_do_not_overlap(log: EventLog, tmp_path: Path) -> None:
    end_us: Counter[int] = Counter()
    for event in traced(log, tmp_path / "log.json"):
        if event["ph"] == "X":
            assert event["ts"] >= end_us[event["tid"]] - 0.002  # times are rounded to a nanosecond
            end_us[event["tid"]] = event["ts"] + event["dur"]


def test_every_process_and_thread_has_a_name(log: EventLog, tmp_path: Path) -> None:
    events = traced(log, tmp_path / "log.json")
    told = {(event["name"], event["pid"], event["tid"]): event["args"] for event in events if event["ph"] == "M"}
    for event in events:
        assert event["ph"] in "MXbestfi"
        assert told["process_name", event["pid"], 0]["name"] in (*log.pools, "requests")
        assert event["ph"] == "M" or told["thread_name", event["pid"], event["tid"]]["name"]


def test_every_span_of_a_request_that_begins_ends_and_lies_in_the_request(log: EventLog, tmp_path: Path) -> None:
    events = [event for event in traced(log, tmp_path / "log.json") if event["ph"] in "be"]
    whole = {event["id"]: [event["ts"]] for event in events if event["name"] == "request" and event["ph"] == "b"}
    for event in events:
        if event["name"] == "request" and event["ph"] == "e":
            whole[event["id"]].append(event["ts"])
    assert sorted(whole) == list(range(30))
    opened: Counter[tuple[int, str]] = Counter()
    for event in events:
        opened[event["id"], event["name"]] += 1 if event["ph"] == "b" else -1
        assert opened[event["id"], event["name"]] in (0, 1)
        assert whole[event["id"]][0] <= event["ts"] <= whole[event["id"]][1]
    assert set(opened.values()) == {0}


def test_a_flow_goes_from_the_encoder_to_the_prefill(log: EventLog, tmp_path: Path) -> None:
    flows: dict[int, list[dict[str, Any]]] = {}
    for event in traced(log, tmp_path / "log.json"):
        if event["ph"] in "stf":
            flows.setdefault(event["id"], []).append(event)
    assert flows
    for its in flows.values():
        assert [event["ph"] for event in its] == ["s", *"t" * (len(its) - 2), "f"]
        assert its[-1]["bp"] == "e"
        assert [event["ts"] for event in its] == sorted(event["ts"] for event in its)


def test_turns_of_the_fleet_are_marks_on_their_instances(tmp_path: Path) -> None:
    rows = [(float(at), 0, 50, 2) for at in range(20)]
    cluster = Cluster(DECODER_ONLY, "A100-80GB", (Pool("EPD", 2, 4, most=3),))
    run = Simulation(trace_of(rows), configuration(cluster), OBJECTIVES, log=1000)
    run.run_until(5.0)
    assert run.start(0, seconds=3.0) == [2]
    run.run_until(9.0)
    run.drain(0)
    run.run_until()
    log = event_log(run)
    marks = [
        (event["name"], event["ts"], event["tid"]) for event in traced(log, tmp_path / "a.json") if event["ph"] == "i"
    ]
    drained = marks[2][2]
    assert marks[:3] == [("starting", 5e6, 2), ("ready", 8e6, 2), ("draining", 9e6, drained)]
    assert [each[::2] for each in marks[3:]] == [("off", drained)]
    assert log.of("off").time_s[0] == run.state.engines.released_s[drained]


def test_the_phases_of_a_request_by_way_of_an_encoder() -> None:
    run = Simulation(trace_of([(1.0, 1, 50, 3)]), configuration(apart(DECODER_ONLY)), OBJECTIVES, log=100)
    run.run_until()
    log, hidden, request = event_log(run), run.state.progress[0], run.state.requests[0]
    rows = [Row(*each) for each in log.rows.tolist() if each[3] == 0]
    encoded_s, queued_s = hidden.encoded_s, float(log.of("queued").time_s[0])
    found = phases(log, rows)
    assert [name for name, _, _ in found][:3] == ["encode", "transfer", "prefill"]
    assert found[0] == ("encode", request.arrival_s, encoded_s)
    assert found[1] == ("transfer", encoded_s, queued_s)
    assert found[-1] == ("decode", hidden.first_token_s, hidden.finish_s)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1), limit=st.sampled_from([40, 100_000]))
def test_the_phases_of_a_request_follow_each_other_without_a_gap(shape: Shape, seed: int, limit: int) -> None:
    log = log_of(shape, seed, limit)
    for request in np.unique(log.rows.request[log.rows.request >= 0]):
        rows = [Row(*each) for each in log.rows[log.rows.request == request].tolist()]
        found = phases(log, rows)
        assert [end for _, _, end in found[:-1]] == [begin for _, begin, _ in found[1:]]
        if found:
            assert (found[0][1], found[-1][2]) == (rows[0].time_s, rows[-1].time_s)
        assert all(begin < end for _, begin, end in found)


def test_the_same_log_gives_the_same_bytes_compressed_or_not(log: EventLog, tmp_path: Path) -> None:
    plain = traced(log, tmp_path / "log.json")
    assert traced(log, tmp_path / "log.json.gz") == plain
    first = (tmp_path / "log.json.gz").read_bytes()
    write_events(log, tmp_path / "other.json.gz")
    assert (tmp_path / "other.json.gz").read_bytes() == first


def test_another_ending_is_refused_and_nothing_written(log: EventLog, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.parquet, \.json or \.json\.gz, not as log\.csv does"):
        write_events(log, tmp_path / "log.csv")
    with pytest.raises(InputError, match="cannot write"):
        write_events(log, tmp_path / "none" / "log.json")
    assert list(tmp_path.iterdir()) == []
