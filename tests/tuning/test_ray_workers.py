"""A search on a Ray cluster finds what processes find, with a machine lost in the middle of it too."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from slackwise.errors import InputError
from slackwise.simulator import isolated, preset
from slackwise.traces import synthesize
from slackwise.tuning.goals import Goal
from slackwise.tuning.ray_workers import ray_workers
from slackwise.tuning.space import space_of
from slackwise.tuning.trials import Task
from slackwise.tuning.tune_search import Budget, History, search
from slackwise.tuning.workers import workers

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")

START = preset("vllm", "InternVL2.5-26B")
TRIALS = 24


@pytest.fixture(scope="module")
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


def test_a_cluster_that_is_not_there_is_one_line() -> None:
    task = Task(synthesize(0, duration_h=0.02), isolated(START.cluster), (Goal("attainment"),))
    with pytest.raises(InputError, match="no Ray cluster at 'localhost'") as refused, ray_workers(task, 1, "localhost"):
        pass
    assert "\n" not in str(refused.value)
