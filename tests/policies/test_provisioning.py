"""Provisioning policies give each pool its target."""

from __future__ import annotations

from slackwise.policies import find
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.knobs import Value
from slackwise.policies.provisioning.pool import PoolView

IMAGE_POOL = PoolView("image", ENCODE, gpus_per_instance=1, configured=6, ready=3)
TEXT_POOL = PoolView("text", PREFILL | DECODE, gpus_per_instance=4, configured=2, ready=2)


def targets(**knobs: Value) -> tuple[int, ...]:
    policy = find("provisioning", "fixed_ratio")
    found: tuple[int, ...] = policy.compiled((IMAGE_POOL, TEXT_POOL), 0.0, policy.params(**knobs))
    return found


def test_fixed_ratio_keeps_what_the_cluster_was_set_up_with() -> None:
    assert targets() == (6, 2)


def test_fixed_ratio_of_the_paper_is_20_text_and_48_image_instances() -> None:
    assert targets(text=20, image=48) == (48, 20)
    assert targets(image=48) == (48, 2)
