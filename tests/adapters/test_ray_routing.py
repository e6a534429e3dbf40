"""The router's core: it decides as the simulator does, counts when it chooses, and corrects by late reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slackwise.adapters.ray.books import Books
from slackwise.adapters.ray.cheapest import cheapest
from slackwise.adapters.ray.routing import PoolRouter
from slackwise.adapters.ray.workload import Asked, Work, read_chat, work_for
from slackwise.errors import InputError
from slackwise.policies import policies
from slackwise.policies.bundle import Policies
from slackwise.policies.declare import Policy
from slackwise.policies.features import DECODE, ENCODE, INSTANCE, PREFILL, REQUEST
from slackwise.policies.winner import read_winner
from slackwise.streams import stream

from .bundles import bundle

ROUTERS = [each for each in policies("routing") if each.name != "actor"]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> tuple[Policies, Work]:
    winner = read_winner(bundle(tmp_path_factory.mktemp("ray") / "winner.json"))
    return winner.policies, work_for(winner, 4)


def encoders(start: tuple[Policies, Work], *settings: str, recording: bool = False) -> PoolRouter:
    router = PoolRouter(start[0].changed(settings), "encode_routing", start[1], ENCODE, recording)
    router.members(f"E{at}" for at in range(4))
    return router


def jobs(work: Work, images: int) -> list[Any]:
    request = work.request(Asked((IMAGE,) * images, 40, None), 1.0)
    return [work.job(request) for _ in range(images)]


@pytest.mark.parametrize("policy", ROUTERS, ids=lambda each: each.name)
def test_a_replica_is_chosen_by_the_machine_code_of_the_policy_that_the_simulator_asks(policy: Policy) -> None:
    random, params = stream(5, f"replicas of {policy.name}"), policy.params()
    chosen = set()
    for _ in range(50):
        instances, request = drawn(random, 16, INSTANCE), drawn(random, 1, REQUEST)
        asked, seen = request.view(np.recarray)[0], instances.view(np.recarray)
        costs = [policy.compiled(asked, each, 3.5, params) for each in seen]
        assert cheapest(policy)(request, instances, 3.5, params) == costs.index(min(costs))
        chosen.add(costs.index(min(costs)))
    assert len(chosen) > 1


def drawn(random: np.random.Generator, count: int, kind: np.dtype[Any]) -> Any:
    """Records of small numbers, so that ties occur."""
    made = np.zeros(count, kind)
    for name in kind.names or ():
        made[name] = random.integers(0, 7, count)
    if kind is INSTANCE:
        made["index"], made["pool_size"], made["kv_capacity_tokens"] = np.arange(count), count, 100
    else:
        made["draw"] = random.random(count)
    return made


def test_the_calls_of_one_request_go_to_different_encoders(start: tuple[Policies, Work]) -> None:
    router = encoders(start, "encode_routing=least_padded_tiles")
    chosen = [router.choose(job, 1.0).replica for job in jobs(start[1], 4)]
    assert chosen == ["E0", "E1", "E2", "E3"]


def test_recorded_features_give_the_same_decision_again(start: tuple[Policies, Work]) -> None:
    router = encoders(start, "encode_routing=power_of_two", recording=True)
    for choice in [router.choose(job, 1.0) for job in jobs(start[1], 16)]:
        again = cheapest(router_policy(start[0].changed(["encode_routing=power_of_two"])))
        params = start[0].changed(["encode_routing=power_of_two"]).params("encode_routing")
        assert again(choice.request, choice.instances, choice.now_s, params) == int(choice.replica[1:])


def router_policy(chosen: Policies) -> Policy:
    return chosen.policy("encode_routing")


def test_what_came_back_is_no_longer_counted_and_only_once(start: tuple[Policies, Work]) -> None:
    router = encoders(start)
    before = router.books.rows.copy()
    choices = [router.choose(job, 1.0) for job in jobs(start[1], 8)]
    assert router.books.rows["pending_images"].sum() == 8
    for choice in [*choices, *choices]:
        router.back(choice, 2.0)
    after = router.books.rows.copy()
    assert after["assigned"].sum() == 8
    after["assigned"] = 0
    assert after.tolist() == before.tolist()


def one_image(seconds: float = 1.0) -> Any:
    work = np.zeros(1, INSTANCE)
    work["waiting"], work["pending_images"], work["backlog_s"] = 1, 1, seconds
    return work


def test_a_report_counts_with_what_was_sent_and_came_back_after_it() -> None:
    books = Books(np.zeros(1, INSTANCE))
    books.members(["a"])
    early, _ = books.send(0, one_image(), 1.0), books.send(0, one_image(), 2.0)
    books.back(early, 4.0)
    books.hear("a", {"waiting": 5, "pending_images": 5, "backlog_s": 5.0}, made_s=1.5)
    assert books.rows["pending_images"].tolist() == [5]  # 5, and one sent since, less one that came back since
    books.hear("a", {"waiting": 9}, made_s=1.2)
    assert books.rows["pending_images"].tolist() == [5], "an older report was believed"
    books.hear("a", {"waiting": 0, "pending_images": 0}, made_s=5.0)
    assert books.rows["pending_images"].tolist() == [0]


def test_reports_of_another_kind_change_nothing() -> None:
    books = Books(np.zeros(1, INSTANCE))
    books.members(["a"])
    before = books.rows.tolist()
    books.hear("a", {"waiting": float("nan"), "pending_images": "7", "backlog_s": -1.0, "other": 3}, 1.0)
    books.hear("b", {"waiting": 3}, 1.0)
    books.hear("a", {"waiting": 3}, float("nan"))
    assert books.rows.tolist() == before


def test_a_replica_that_is_gone_is_not_chosen_and_the_others_keep_their_counts(start: tuple[Policies, Work]) -> None:
    router = encoders(start, "encode_routing=least_image_tokens")
    choices = [router.choose(job, 1.0) for job in jobs(start[1], 4)]
    router.members(["E1", "E2", "E3", "E4"])
    router.back(choices[0], 2.0)
    assert router.books.rows["pending_images"].tolist() == [1, 1, 1, 0]
    assert router.choose(jobs(start[1], 1)[0], 2.0).replica == "E4"
    router.members([])
    with pytest.raises(InputError, match="no replica"):
        router.choose(jobs(start[1], 1)[0], 2.0)


def test_new_policies_decide_from_the_same_counts(start: tuple[Policies, Work]) -> None:
    router = encoders(start, "encode_routing=least_image_tokens")
    router.choose(jobs(start[1], 1)[0], 1.0)
    router.load(start[0].changed(["encode_routing=busiest_instance"]))
    assert router.choose(jobs(start[1], 1)[0], 1.0).replica == "E0"


def test_text_instances_get_the_prompt_and_no_images_that_others_encode(start: tuple[Policies, Work]) -> None:
    router = PoolRouter(start[0], "routing", start[1], PREFILL | DECODE)
    router.members(["T"])
    request = start[1].encoded(start[1].request(Asked((IMAGE, IMAGE), 400, 10), 1.0))
    router.choose(request, 1.0)
    row = router.books.rows[0]
    assert (row["pending_images"], row["pending_text_tokens"], row["waiting"]) == (0, 100, 1)
    assert row["pending_prompt_tokens"] == row["pending_text_tokens"] + row["pending_image_tokens"] > 100
    assert row["backlog_s"] == request["prefill_estimate_s"][0] > 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "JSON object"),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [1]}, "content"),
        ({"messages": [{"content": 5}]}, "content"),
        ({"messages": [{"content": [{"type": "image_url"}]}]}, "part"),
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": 3}}]}]}, "part"),
        ({"messages": [{"content": [{"type": "text", "text": None}]}]}, "part"),
        ({"messages": [{"content": [{"type": ["text"]}]}]}, "part"),
        ({"messages": [{"content": [IMAGE] * 3}]}, "2 images"),
        ({"messages": [{"content": "x"}], "max_tokens": True}, "max_tokens"),
        ({"messages": [{"content": "x"}], "max_tokens": -1}, "max_tokens"),
    ],
)
def test_what_is_no_chat_request_is_refused_in_one_line(body: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read_chat(body, most_images=2)
    assert "\n" not in str(refused.value)


def test_images_and_letters_of_a_chat_are_counted() -> None:
    parts = [{"type": "text", "text": "abcd"}, IMAGE]
    body = {"messages": [{"role": "system", "content": "ef"}, {"content": parts}, {"role": "assistant"}]}
    asked = read_chat({**body, "max_tokens": 5}, 2)
    assert (len(asked.images), asked.characters, asked.max_tokens) == (1, 6, 5)
