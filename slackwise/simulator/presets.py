"""Named baselines: what runs today, and what ModServe published."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slackwise.errors import InputError, unknown
from slackwise.latency.model import load_model
from slackwise.policies.bundle import Policies, PolicyChoice
from slackwise.simulator.cluster import Cluster, Pool
from slackwise.simulator.configuration import Configuration

MODSERVE_TEXT_SHARE = 20 * 4 / 128
"""ModServe's static fleet: 20 Text TP-4 and 48 Image TP-1 instances on 128 GPUs (SoCC 2025, 5.2)."""

TENSOR_PARALLEL = 4
"""Of monoliths and Text Instances in ModServe's evaluation."""


def vllm(model: str, gpu: str = "A100-80GB", gpus: int = 16) -> Configuration:
    """Today's vLLM: monoliths under the V1 scheduler, requests to the least loaded (vLLM's data-parallel balancer)."""
    return Configuration("vllm", _monoliths(model, gpu, gpus, "vllm"), _first_come("encoder_budget"))


def vllm_07(model: str, gpu: str = "A100-80GB", gpus: int = 16) -> Configuration:
    """What ModServe compared with: monoliths under vLLM 0.7.2's prefill-first scheduler."""
    return Configuration("vllm-0.7", _monoliths(model, gpu, gpus, "vllm-0.7"), _first_come("none"))


def modserve(model: str, gpu: str = "A100-80GB", gpus: int = 16) -> Configuration:
    """ModServe (SoCC 2025): encoders apart, images fanned out, token-aware routing, short text first, on vLLM 0.7.2."""
    text_tokens = "least_text_tokens" if load_model(model).cross_attention else "least_total_tokens"
    policies = Policies(
        encode_routing=PolicyChoice("least_image_tokens"),
        encode_batching=PolicyChoice("modality_size_priority"),
        chunking=PolicyChoice("per_image"),
        routing=PolicyChoice(text_tokens),
        batching=PolicyChoice("modality_size_priority"),
    )
    return Configuration("modserve", disaggregated(model, gpu, gpus, engine="vllm-0.7"), policies)


def disaggregated(
    model: str,
    gpu: str,
    gpus: int,
    text_instances: int | None = None,
    engine: str = "vllm",
    encoder: str = "transformers",
) -> Cluster:
    """E+PD on `gpus` GPUs: `text_instances` of TP-4 (by default in ModServe's ratio), encoders of TP-1 on the rest.

    Raises InputError if too few GPUs are left for an encoder.
    """
    if text_instances is None:
        text_instances = max(1, round(gpus * MODSERVE_TEXT_SHARE / TENSOR_PARALLEL))
    encoders = gpus - text_instances * TENSOR_PARALLEL
    if encoders < 1:
        raise InputError(
            f"{gpus} GPUs leave no encoder beside {text_instances} text instances of {TENSOR_PARALLEL} GPUs"
        )
    pools = (Pool("E", encoders, 1, encoder), Pool("PD", text_instances, TENSOR_PARALLEL, engine))
    return Cluster(model, gpu, pools)


def _monoliths(model: str, gpu: str, gpus: int, engine: str) -> Cluster:
    if gpus < TENSOR_PARALLEL or gpus % TENSOR_PARALLEL:
        raise InputError(f"monoliths take {TENSOR_PARALLEL} GPUs each: {gpus} GPUs is not a multiple")
    return Cluster(model, gpu, (Pool("EPD", gpus // TENSOR_PARALLEL, TENSOR_PARALLEL, engine),))


def _first_come(chunking: str) -> Policies:
    return Policies(
        encode_routing=PolicyChoice("least_requests"),
        encode_batching=PolicyChoice("fcfs"),
        chunking=PolicyChoice(chunking),
        routing=PolicyChoice("least_requests"),
        batching=PolicyChoice("fcfs"),
    )


PRESETS: Mapping[str, Callable[[str, str, int], Configuration]] = {
    "vllm": vllm,
    "vllm-0.7": vllm_07,
    "modserve": modserve,
}
"""Baselines by name."""


def preset(name: str, model: str, gpu: str = "A100-80GB", gpus: int = 16) -> Configuration:
    """A named baseline on `gpus` GPUs. Raises InputError for an unknown name or a fleet that does not divide."""
    if name not in PRESETS:
        raise unknown("configuration", name, PRESETS)
    return PRESETS[name](model, gpu, gpus)
