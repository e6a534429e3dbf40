"""`slackwise train` leaves a folder that can be resumed and exported, the same for the same seed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slackwise.cli.main import run
from slackwise.errors import InputError
from slackwise.policies.learned.actor import read_actor
from slackwise.traces import write
from slackwise.tuning.training.environments import lanes, parts, single
from slackwise.tuning.training.evaluation import always, interval, provisioned, scores
from slackwise.tuning.training.run import rivals, summary, train
from slackwise.tuning.training.settings import ALGORITHMS, Settings, settings_from
from tests.env.cases import hour

FAST: dict[str, Any] = {
    "ppo": {"n_steps": 8, "batch_size": 16, "n_epochs": 1, "net_arch": [8]},
    "maskable_ppo": {"n_steps": 8, "batch_size": 16, "n_epochs": 1, "net_arch": [8]},
    "sac": {"learning_starts": 8, "batch_size": 8, "net_arch": [8]},
    "ars": {"n_delta": 2, "n_top": 1, "n_eval_episodes": 2},
}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An hour of the synthetic week in a file."""
    path = tmp_path_factory.mktemp("trace") / "hour.parquet"
    write(hour(), path)
    return str(path)


def settings(trace: str, environment: str = "Provision-v0", algorithm: str = "ppo", **changes: Any) -> Settings:
    quick: dict[str, Any] = {"steps": 64, "lanes": 2, "hours": 0.05, "split_h": (0.5, 0.25, 0.2), "windows": 2}
    quick |= {"hours": 0.02} if environment == "Dispatch-v0" else {}
    quick |= {"evaluations": 2, "hyperparameters": FAST.get(algorithm, {}), "trace": trace}
    return Settings(environment, algorithm, **quick | changes)


PAIRS = [(environment, name) for name, each in ALGORITHMS.items() for environment in each.environments]


@pytest.mark.parametrize(("environment", "algorithm"), PAIRS)
def test_every_algorithm_leaves_an_actor_that_decides_as_its_model(
    environment: str, algorithm: str, trace: str, tmp_path: Path
) -> None:
    """`train` itself raises CheckError if the actor and the model differ on an observation of the suite."""
    result = train(settings(trace, environment, algorithm), 0, tmp_path / "run", lambda line: None)
    assert -1.5 < result["score"] < 0.0
    actor = read_actor(tmp_path / "run" / "actor.json")
    assert actor.trained["algorithm"] == algorithm
    assert len(actor.golden) == 8


def test_the_folder_is_as_the_zoo_leaves_it(trace: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(settings(trace), 0, folder, lambda line: None)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    named = {"config.yml", "args.yml", "command.txt", "evaluations.npz", "best_model.zip", "actor.json", "result.json"}
    assert found - {"0.monitor.csv"} == named | {f"checkpoints/rl_model_{steps}_steps.zip" for steps in (0, 32, 64)}
    with np.load(folder / "evaluations.npz") as kept:
        assert kept["timesteps"].tolist() == [0, 32, 64]
        assert kept["results"].shape == (3, 2)
    assert json.loads((folder / "config.yml").read_text())["resolved"]["n_steps"] == 8


def test_the_same_seed_gives_the_same_actor_and_another_another(trace: str, tmp_path: Path) -> None:
    for at, seed in enumerate((1, 1, 2)):
        train(settings(trace), seed, tmp_path / str(at), lambda line: None)
    layers = [read_actor(tmp_path / str(at) / "actor.json").layers for at in range(3)]
    assert layers[0] == layers[1] != layers[2]


def test_a_run_is_resumed_with_draws_of_its_own(trace: str, tmp_path: Path) -> None:
    folder, plain = tmp_path / "run", settings(trace)
    train(plain, 0, folder, lambda line: None)
    train(replace(plain, steps=128, evaluations=4), 0, folder, lambda line: None, resume=True)
    with np.load(folder / "evaluations.npz") as kept:
        assert kept["timesteps"].tolist() == [0, 32, 64, 96, 128]
    first, second = ((folder / f"{part}.monitor.csv").read_text().splitlines() for part in range(2))
    assert [line.split(",")[0] for line in first[2:]] != [line.split(",")[0] for line in second[2:]]


def test_nothing_is_overwritten(trace: str, tmp_path: Path) -> None:
    folder, plain = tmp_path / "run", settings(trace)
    with pytest.raises(InputError, match="holds no run to resume"):
        train(plain, 0, folder, lambda line: None, resume=True)
    train(plain, 0, folder, lambda line: None)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="holds a run already"):
        train(plain, 0, folder, lambda line: None)
    with pytest.raises(InputError, match="was trained with lanes = 2, not 4"):
        train(replace(plain, lanes=4), 0, folder, lambda line: None, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_suite_is_the_same_for_whoever_is_judged(trace: str) -> None:
    suite = lanes(settings(trace), parts(settings(trace)).test, 3)
    still = always(np.array([2, 2, 0]))
    assert scores(suite, still).tolist() == scores(suite, still).tolist()
    assert len(set(scores(suite, still))) == 3


def test_policies_are_judged_on_the_windows_of_the_suite(trace: str, tmp_path: Path) -> None:
    """`fixed_ratio` is the action that changes nothing; an actor is judged in the loop in which it will serve."""
    plain = settings(trace, hours=0.2, split_h=(0.5, 0.2, 0.25))
    env, suite = single(plain, parts(plain).test), lanes(plain, parts(plain).test, 3)
    still = scores(suite, always(np.array([2, 2, 0])))
    assert provisioned(env, "fixed_ratio", 3) == pytest.approx(still, rel=1e-12)
    result = train(plain, 0, tmp_path / "run", lambda line: None, against=rivals(plain, ["modserve_ceil"]))
    assert result["policies"]["modserve_ceil"]["score"] < 0.0
    assert result["served"] == pytest.approx(result["score"], abs=0.2)


def test_an_interval_covers_the_mean_and_shrinks() -> None:
    drawn = np.random.default_rng(0).normal(1.0, 1.0, 400)
    wide, narrow = interval(drawn[:25]), interval(drawn)
    assert wide["low"] < wide["mean"] < wide["high"]
    assert narrow["high"] - narrow["low"] == pytest.approx(2 * 1.96 / 20, rel=0.2)


def test_seeds_are_summed_up_with_students_interval() -> None:
    runs = [{"score": -0.2, "default": -0.3, "difference": {"mean": mean}} for mean in (0.1, 0.2, 0.3)]
    found = summary(runs)["difference"]
    assert (found["low"], found["high"]) == pytest.approx((0.2 - 4.303 * 0.1 / 3**0.5, 0.2 + 4.303 * 0.1 / 3**0.5))


BAD = (
    ({"environment": "Provision"}, "did you mean 'Provision-v0'"),
    ({"algorithm": "ppoo"}, "did you mean 'ppo'"),
    (
        {"environment": "Dispatch-v0", "algorithm": "sac"},
        "sac does not learn Dispatch-v0: take ppo or maskable_ppo or ars",
    ),
    ({"hyperparameters": {"n_step": 5}}, "did you mean 'n_steps'"),
    ({"hyperparameters": {"n_steps": "many"}}, "hyperparameters of ppo"),
    ({"steps": 0}, "steps = 0"),
    ({"hours": float("nan")}, "hours = nan"),
    ({"split_h": (1.0, 0.25, 0.25)}, "1.5 hours are asked for, the trace has"),
    ({"split_h": (0.5, 0.25, 0.01)}, "three parts of 0.05 hours or more"),
    ({"configuration": "vlm"}, "did you mean 'vllm'"),
    ({"environment_arguments": {"most_chang": 3}}, "most_chang"),
    ({"environment_arguments": {"most_change": 0}}, "most_change"),
    ({"trace": "nothing.csv"}, "nothing.csv"),
)


@pytest.mark.parametrize(("changes", "words"), BAD)
def test_bad_settings_are_refused_before_anything_is_written(
    changes: dict[str, Any], words: str, trace: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        train(settings(**{"trace": trace} | changes), 0, tmp_path / "run", lambda line: None)
    assert not (tmp_path / "run").exists()


def test_texts_are_read_as_json_where_they_can() -> None:
    assert settings_from(["net_arch=[8, 8]", "gamma=0.9", "kind=fast"]) == {
        "net_arch": [8, 8],
        "gamma": 0.9,
        "kind": "fast",
    }
    with pytest.raises(InputError, match="write name=value"):
        settings_from(["gamma"])


def test_the_command_trains_seeds_and_tells_of_them(
    trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--steps", "32", "--lanes", "2", "--hours", "0.05", "--split", "0.5,0.25,0.2", "--windows", "2"]
    options += [f"--set={name}={json.dumps(value)}" for name, value in FAST["ppo"].items()]
    arguments = ["train", "slackwise/Provision-v0", "--trace", trace, *options, "--out", str(tmp_path)]
    assert run([*arguments, "--seeds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["seeds"] == len(found["runs"]) == 2
    assert run(arguments) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert run([*arguments[:-1], str(tmp_path / "other"), "--split", "1"]) == 2
    assert "write three numbers of hours" in capsys.readouterr().err
