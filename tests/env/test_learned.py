"""A learned actor decides as data: with NumPy, from the views of pools, wherever a heuristic does."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slackwise.cli.main import run
from slackwise.errors import CheckError, InputError
from slackwise.policies.bundle import PolicyChoice
from slackwise.policies.learned.actor import CHOICES, CLIPPED, SQUASHED, Actor, read_actor, write_actor
from slackwise.policies.learned.features import names
from slackwise.policies.learned.observe import observe
from slackwise.policies.learned.policy import actor_policy
from slackwise.policies.winner import Winner, read_winner, write_winner
from slackwise.simulator import Configuration, Simulation, preset, result_of
from slackwise.simulator.observation import Observer
from slackwise.traces import Trace, slice_time, write
from tests.actors import FEATURES, fields_of, logits, net, provisioner
from tests.env.cases import KNOBS, hour, made


def window() -> Trace:
    return slice_time(hour(), 600.0, 1500.0)


def served(actor: Actor, tmp_path: Path, *changes: str) -> Simulation:
    """A run of the modserve preset on 16 GPUs provisioned by an actor that was written to a file."""
    path = tmp_path / "actor.json"
    write_actor(path, actor)
    plain = preset("modserve", "InternVL2.5-26B", gpus=16)
    policies = plain.policies.changed([*changes, f"provisioning={path}"])
    simulation = Simulation(window(), Configuration("learned", plain.cluster, policies), made().service.objectives)
    simulation.run_until()
    return simulation


@pytest.mark.parametrize("configuration", ["modserve", "vllm"])
def test_views_of_pools_give_the_observations_of_the_environment(configuration: str) -> None:
    env = made(configuration=configuration, load=1.5, duration_s=900.0, faults="mtbf_s=2000,repair_s=100")
    env.reset(seed=1)
    env.action_space.seed(0)
    observer, memory = Observer(env.simulation), ()
    observer.first_s = 0.0  # the clock of an episode begins with its window
    seen = observer.begin()
    for _ in range(14):
        observation, *_ = env.step(env.action_space.sample())
        views, seen = observer.look(seen, float(env.lanes.now_s[0]))
        raw, memory = observe(views, memory, 60.0)
        told = names(env.service.configuration.cluster.kinds)
        assert dict(zip(told, env.lanes.transform(raw), strict=True)) == pytest.approx(
            dict(zip(told, observation, strict=True)), abs=1e-6
        )


def test_a_file_gives_back_the_actor(tmp_path: Path) -> None:
    actor = provisioner()
    write_actor(tmp_path / "a.json", actor)
    assert read_actor(tmp_path / "a.json") == actor


def test_outputs_are_those_of_the_layers() -> None:
    actor, x = provisioner(), np.random.default_rng(3).random(FEATURES)
    (first, first_bias), (last, last_bias) = (layer.arrays() for layer in actor.layers)
    assert np.allclose(actor.outputs(x), last @ np.tanh(first @ x + first_bias) + last_bias, rtol=1e-12)
    small = Actor(KNOBS, ("E", "PD"), 60.0, net(2, [3.0, -0.5]), CLIPPED, knobs=(("batching", "edf", "x"),) * 2)
    assert small.action(x).tolist() == [1.0, -0.5]
    assert np.allclose(Actor(**fields_of(small) | {"head": SQUASHED}).action(x), np.tanh([3.0, -0.5]))


def test_the_fleet_becomes_what_the_actor_says(tmp_path: Path) -> None:
    """Two encoders go every minute until one is left; text instances come as GPUs are free."""
    simulation = served(provisioner(logits(0, 3, 0)), tmp_path)
    assert simulation.controller is not None
    ticks = simulation.controller.memo.ticks
    assert [tick.targets[0] for tick in ticks[:4]] == [6, 4, 2, 1]
    assert ticks[0].time_s == pytest.approx(simulation.arrival_s[0] + 60.0)
    assert max(tick.ready[1] for tick in ticks) == 3


def test_a_role_switch_moves_a_lot(tmp_path: Path) -> None:
    simulation = served(provisioner(logits(2, 2, 1)), tmp_path)
    assert simulation.controller is not None
    ticks = simulation.controller.memo.ticks
    assert ticks[0].targets == (4, 3)
    assert [tick.switched for tick in ticks[:3]] == [4, 0, 0]
    assert {tick.targets for tick in ticks} == {(4, 3)}  # a switch that would leave no encoder orders nothing


def knob_actor(place: float) -> Actor:
    knobs = (("batching", "least_slack", "aging"), ("chunking", "tile_budget", "tiles"))
    return Actor(KNOBS, ("E", "PD"), 60.0, net(2, [place, place]), CLIPPED, knobs=knobs)


def test_knobs_are_turned_as_the_actor_says_and_the_fleet_stays(tmp_path: Path) -> None:
    simulation = served(knob_actor(1.0), tmp_path, "batching=least_slack", "chunking=tile_budget")
    policy, params = simulation.decisions[4]
    assert policy.values(params)["aging"] == policy.knobs["aging"].ends()[1]
    assert len(simulation.state.instances) == 10
    lasted_s = simulation.state.progress.finish_s.max() - simulation.arrival_s[0]
    assert result_of(simulation).gpu_s == pytest.approx(16 * lasted_s)


def test_a_bundle_holds_its_actor(tmp_path: Path) -> None:
    plain = preset("modserve", "InternVL2.5-26B", gpus=16)
    policies = plain.policies.changed([f"provisioning={_file(tmp_path, provisioner())}"])
    write_winner(tmp_path / "winner.json", Winner(policies, "InternVL2.5-26B", "A100-80GB", {}, {}, {}))
    (tmp_path / "actor.json").unlink()
    assert read_winner(tmp_path / "winner.json").policies == policies
    assert read_actor(tmp_path / "winner.json") == provisioner()


def _file(tmp_path: Path, actor: Actor) -> Path:
    write_actor(tmp_path / "actor.json", actor)
    return tmp_path / "actor.json"


def test_it_runs_without_torch(tmp_path: Path) -> None:
    """In a process of its own, by the command line, in place of a heuristic."""
    write(slice_time(hour(), 0.0, 200.0), tmp_path / "trace.csv")
    script = (
        "import sys; from slackwise.cli.main import run; "
        "code = run(['simulate', sys.argv[1], '--config', 'modserve', '--model', 'InternVL2.5-26B', '--set', "
        "'provisioning=' + sys.argv[2], '--json', '--resamples', '0']); "
        "assert not {'torch', 'gymnasium', 'stable_baselines3'} & set(sys.modules); sys.exit(code)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "trace.csv"), str(_file(tmp_path, provisioner()))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["policies"]["provisioning"]["name"] == "actor"


NOT_FINITE = base64.b64encode(np.full(8, np.nan, "<f4").tobytes()).decode()

BAD = (
    (lambda document: document.update(version=3), "version 3, this slackwise reads up to 2"),
    (lambda document: document.update(head="choice"), "heads are choices, clipped, squashed"),
    (lambda document: document.update(heads=1), "did you mean 'head'"),
    (lambda document: document["layers"][0].update(weights="AAAA"), "weights"),
    (lambda document: document["layers"][0].update(bias=5), "base64"),
    (lambda document: document["layers"][0].update(bias=NOT_FINITE), "a weight is not finite"),
    (lambda document: document.update(layers=[]), "layers"),
    (lambda document: document.update(sizes=[5, 5]), "need 10 outputs, not 13"),
    (lambda document: document.update(interval_s=-1), "interval_s"),
    (lambda document: document.update(interval_s="often"), "not an actor"),
)


@pytest.mark.parametrize(("edit", "words"), BAD)
def test_a_bad_actor_is_refused_in_one_line(edit: Any, words: str, tmp_path: Path) -> None:
    document = provisioner().to_dict()
    edit(document)
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=words) as error:
        read_actor(tmp_path / "a.json")
    assert "\n" not in str(error.value)


def test_weights_that_decide_otherwise_are_refused(tmp_path: Path) -> None:
    document = provisioner().to_dict()
    document["layers"] = provisioner(seed=5).to_dict()["layers"]
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(CheckError, match="not those that were trained"):
        read_actor(tmp_path / "a.json")


def test_an_actor_for_other_pools_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(tmp_path, provisioner())
    assert run(["simulate", "synthetic", "--hours", "0.1", "--config", "vllm", "--set", f"provisioning={path}"]) == 2
    assert "trained on E+PD, not on EPD" in capsys.readouterr().err


def test_what_is_no_actor_of_the_fleet_is_refused() -> None:
    plain = Actor("slackwise/Dispatch-v0", ("EPD",), 60.0, net(4, [0.0] * 4), CHOICES, (4,))
    with pytest.raises(InputError, match="train Provision or Knobs"):
        actor_policy(plain)
    with pytest.raises(InputError, match="needs the file"):
        PolicyChoice("actor").policy("provisioning")
