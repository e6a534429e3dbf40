"""A search and a training on a Ray cluster find what this machine finds, with a machine lost in the middle too."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from slackwise.errors import InputError
from slackwise.simulator import isolated, preset
from slackwise.traces import synthesize, write
from slackwise.tuning.goals import Goal
from slackwise.tuning.ray_workers import ray_tasks, ray_workers
from slackwise.tuning.space import space_of
from slackwise.tuning.trials import Task
from slackwise.tuning.tune_search import Budget, History, search
from slackwise.tuning.workers import workers

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")

START = preset("vllm", "InternVL2.5-26B")
TRIALS = 24


@pytest.fixture
def cluster() -> Iterator[Any]:
    made = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def test_a_lost_machine_loses_no_trial_and_changes_none(cluster: Any) -> None:
    task = Task(synthesize(1, rows=1500, duration_h=0.2), isolated(START.cluster, scale="work"), (Goal("attainment"),))
    space = space_of(START)
    with workers(task, 2) as beside:
        local = search(task, space, "tpe", Budget(TRIALS), beside)
    nodes = list(cluster.worker_nodes)

    def lose_one(history: History) -> None:
        if len(history.entries) == TRIALS // 3:
            cluster.remove_node(nodes[0], allow_graceful=False)

    with ray_workers(task, 2, cluster.address) as running:
        found = search(task, space, "tpe", Budget(TRIALS), running, progress=lose_one)
    assert len(cluster.worker_nodes) == 1
    assert found == local


LEARNT: dict[str, dict[str, Any]] = {
    "ars": {"n_delta": 2, "n_top": 1, "n_eval_episodes": 2},
    "ppo": {"n_steps": 8, "batch_size": 16, "n_epochs": 1, "net_arch": [8]},
}


@pytest.mark.parametrize("algorithm", LEARNT)
def test_a_lost_machine_loses_no_seed_and_changes_none(algorithm: str, cluster: Any, tmp_path: Path) -> None:
    """Seeds, suites and the episodes of ARS are tasks; the machine is lost while all of them are under way."""
    pytest.importorskip("sb3_contrib")
    from slackwise.tuning.training import seeds
    from slackwise.tuning.training.run import train
    from slackwise.tuning.training.settings import Settings

    write(synthesize(1, rows=3000, duration_h=1.0), tmp_path / "hour.parquet")
    settings = Settings(
        "Provision-v0", algorithm, 64, 2, 0.05, (0.5, 0.25, 0.2), 4, 2, str(tmp_path / "hour.parquet"),
        hyperparameters=LEARNT[algorithm],
    )  # fmt: skip
    local = [train(settings, seed, tmp_path / f"local-{seed}", lambda line: None) for seed in (0, 1)]
    node = next(iter(cluster.worker_nodes))
    with ray_tasks(2, cluster.address) as tasks:
        timer = Timer(3.0, cluster.remove_node, (node, False))
        timer.start()
        found = seeds.run_on_cluster(settings, (0, 1), tmp_path, lambda line: None, False, {}, tasks)
        assert timer.finished.is_set(), "the run was over before the machine was lost"
        timer.join()
    assert len(cluster.worker_nodes) == 1
    assert found == local
    for seed in (0, 1):
        here, there = (tmp_path / f"{where}-{seed}" for where in ("local", "seed"))
        assert (here / "actor.json").read_text() == (there / "actor.json").read_text()
        assert {path.name for path in here.rglob("*")} == {path.name for path in there.rglob("*")}


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_one_line(address: str) -> None:
    task = Task(synthesize(0, duration_h=0.02), isolated(START.cluster), (Goal("attainment"),))
    with pytest.raises(InputError, match=f"no Ray cluster at '{address}'") as refused, ray_workers(task, 1, address):
        pass
    assert "\n" not in str(refused.value)
