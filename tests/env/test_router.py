"""An actor of Dispatch routes in the simulator, compiled and without torch, as it acted in its environment."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slackwise.cli.main import run
from slackwise.errors import CheckError, InputError
from slackwise.policies.bundle import PolicyChoice
from slackwise.policies.learned.actor import CHOICES, SCORES, Actor, Layer, instance_rows, write_actor
from slackwise.policies.learned.features import INSTANCE_FEATURES, REQUEST_FEATURES, Transform
from slackwise.policies.learned.router import INPUTS, router_policy
from slackwise.policies.winner import Winner, read_winner, write_winner
from slackwise.simulator import Simulation, preset, result_of
from slackwise.testing.golden import golden_decisions
from slackwise.testing.records import random_cases
from slackwise.traces import slice_time, write
from tests.env.cases import DISPATCH, hour, made, played

ACTIVATIONS = ("tanh", "relu")


def router(seed: int = 0, activation: str = "tanh") -> Actor:
    """A drawn network that looks at the request and at the instance."""
    random = np.random.default_rng(seed)
    first = Layer.of(random.normal(size=(8, INPUTS)), random.normal(size=8), activation)
    last = Layer.of(random.normal(size=(1, 8)), random.normal(size=1), "none")
    return Actor(DISPATCH, ("EPD",), 60.0, (first, last), SCORES)


def shortest() -> Actor:
    """Scores by the waiting and running requests alone: the fewest win."""
    weights = np.zeros((1, INPUTS))
    weights[0, len(REQUEST_FEATURES) + 1 : len(REQUEST_FEATURES) + 3] = -1.0
    return Actor(DISPATCH, ("EPD",), 60.0, (Layer.of(weights, np.zeros(1), "none"),), SCORES)


def _file(folder: Path, actor: Actor) -> Path:
    write_actor(folder / "actor.json", actor)
    return folder / "actor.json"


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_sends_every_request_where_the_environment_was_told_to(activation: str, tmp_path: Path) -> None:
    actor, env = router(7, activation), made(DISPATCH)
    played(env, lambda observation, step: int(actor.action(observation)[0]))
    policies = env.service.configuration.policies.changed([f"routing={_file(tmp_path, actor)}"])
    configuration = replace(env.service.configuration, policies=policies)
    plain = Simulation(slice_time(hour(), 600.0, 1200.0), configuration, env.simulation.objectives)
    plain.run_until()
    sent = env.simulation.state.progress.instance
    assert len(set(sent.tolist())) > 1
    assert np.array_equal(sent, plain.state.progress.instance)
    assert np.allclose(result_of(env.simulation).end_to_end_s, result_of(plain).end_to_end_s, rtol=1e-9)


def test_the_compiled_router_computes_what_the_actor_does() -> None:
    """Over random records, with the transforms of the environment."""
    actor, cases = router(2), random_cases(50, 0)
    policy = router_policy(actor, "actor")
    transform = Transform(REQUEST_FEATURES + INSTANCE_FEATURES)
    for request, instance, now in zip(cases.requests, cases.instances, cases.nows, strict=True):
        raw = [request.images, request.text_tokens, request.image_tokens, request.output_estimate_tokens]
        raw += [request.encode_estimate_s, request.prefill_estimate_s, max(0.0, request.deadline_s - now)]
        raw += [1.0, instance.waiting, instance.running, instance.backlog_s, max(0.0, instance.busy_until_s - now)]
        raw += [instance.kv_used_tokens / max(1, instance.kv_capacity_tokens)]
        rows, _ = instance_rows(transform(np.array(raw, float)).astype(float))
        expected = float(actor.outputs(rows)[0, 0])
        assert policy.compiled(request, instance, now, policy.params()) == pytest.approx(-expected, abs=1e-6)


def test_an_instance_that_takes_no_work_is_never_chosen() -> None:
    observation = np.random.default_rng(0).random(len(REQUEST_FEATURES) + 3 * len(INSTANCE_FEATURES))
    for ready in range(3):
        for each in range(3):
            observation[len(REQUEST_FEATURES) + each * len(INSTANCE_FEATURES)] = float(each == ready)
        assert router().action(observation).tolist() == [ready]
    with pytest.raises(InputError, match="are not those of a request and of instances"):
        router().action(observation[:-1])


def test_an_actor_that_counts_requests_beats_the_busiest_instance(tmp_path: Path) -> None:
    window, plain = slice_time(hour(), 0.0, 600.0), preset("vllm", "InternVL2.5-26B")
    env = made(DISPATCH)
    met = {}
    for name in (str(_file(tmp_path, shortest())), "busiest_instance"):
        policies = plain.policies.changed([f"routing={name}"])
        run_of = Simulation(window, replace(plain, policies=policies), env.service.objectives)
        run_of.run_until()
        met[name] = float(result_of(run_of).met.mean())
    assert met.pop("busiest_instance") < min(met.values())


def test_a_bundle_holds_its_router_and_replays_its_golden_decisions(tmp_path: Path) -> None:
    policies = preset("vllm", "InternVL2.5-26B").policies.changed([f"routing={_file(tmp_path, router())}"])
    golden = golden_decisions(policies, 0)
    path = tmp_path / "winner.json"
    write_winner(path, Winner(policies, "InternVL2.5-26B", "A100-80GB", {}, {}, {}, golden=golden))
    (tmp_path / "actor.json").unlink()
    assert read_winner(path).policies == policies
    assert policies.changed([f"routing={path}"]) == policies
    document = json.loads(path.read_text())
    document["router"]["layers"] = router(5).to_dict()["layers"]
    path.write_text(json.dumps(document))
    with pytest.raises(CheckError, match="routing policy 'actor' gives"):
        read_winner(path)


def test_it_routes_without_torch_by_the_command_line(tmp_path: Path) -> None:
    write(slice_time(hour(), 0.0, 200.0), tmp_path / "trace.csv")
    script = (
        "import sys; from slackwise.cli.main import run; "
        "code = run(['simulate', sys.argv[1], '--config', 'vllm', '--model', 'InternVL2.5-26B', '--set', "
        "'routing=' + sys.argv[2], '--json', '--resamples', '0']); "
        "assert not {'torch', 'gymnasium', 'stable_baselines3'} & set(sys.modules); sys.exit(code)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "trace.csv"), str(_file(tmp_path, router()))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["policies"]["routing"]["name"] == "actor"


def test_what_cannot_route_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = (Layer.of(np.zeros((4, 31)), np.zeros(4), "none"),)
    whole = Actor(DISPATCH, ("EPD",), 60.0, layers, CHOICES, (4,))
    command = ["simulate", "synthetic", "--hours", "0.1", "--config", "vllm", "--set"]
    assert run([*command, f"routing={_file(tmp_path, whole)}"]) == 2
    assert "cannot route: train Dispatch" in capsys.readouterr().err
    assert run([*command, f"decode_routing={tmp_path / 'actor.json'}"]) == 2
    assert run([*command, f"provisioning={_file(tmp_path, router())}"]) == 2
    assert "cannot be used for provisioning" in capsys.readouterr().err
    with pytest.raises(InputError, match="needs the file"):
        PolicyChoice("actor").policy("routing")
    with pytest.raises(InputError, match="scores are of 7 and 6 features"):
        Actor(DISPATCH, ("EPD",), 60.0, layers, SCORES)
