"""What a vLLM server with the plug-in says of itself, as routers and provisioning read it.

Without the plug-in what waits is counted but not weighed, and no images are seen to arrive.
"""

from __future__ import annotations

from collections.abc import Mapping

from slackwise.adapters.gateway.scrape import Samples, total
from slackwise.adapters.ray.workload import Work
from slackwise.policies.features import ENCODE, IMAGE, OUTPUT_ESTIMATE_TOKENS, PENDING, TEXT


def report_of(samples: Samples, stages: int, work: Work) -> dict[str, float]:
    """The report of a server of these stages: what waits and runs there, KV cache, and all that ever arrived."""
    waiting, running = (total(samples, f"vllm:num_requests_{each}") or 0.0 for each in ("waiting", "running"))
    report = {"waiting": waiting, "running": running}
    capacity = _kv_capacity(samples)
    used = total(samples, "vllm:kv_cache_usage_perc") or 0.0
    report |= {"kv_capacity_tokens": capacity, "kv_used_tokens": float(round(used * capacity))}
    report |= _encoding(waiting + running, work) if stages == ENCODE else _pending(samples, waiting + running)
    report["pending_tokens"] = report["pending_image_tokens"] + report["pending_text_tokens"]
    report["busy"] = float(waiting + running > 0)
    return report if stages == ENCODE else report | _arrived(samples)


def _kv_capacity(samples: Samples) -> float:
    """Tokens: blocks times their size, labels of a sample whose value says nothing."""
    for name, labels in samples:
        if name == "vllm:cache_config_info":
            given = dict(labels)
            blocks, size = given.get("num_gpu_blocks", ""), given.get("block_size", "")
            if blocks.isdecimal() and size.isdecimal():
                return float(blocks) * float(size)
    return 0.0


def _pending(samples: Samples, there: float) -> dict[str, float]:
    """As the plug-in last published it; nothing where nothing waits or runs, which it publishes late."""
    return {name: (total(samples, f"slackwise:{name}") or 0.0) if there else 0.0 for name in PENDING}


def _encoding(there: float, work: Work) -> dict[str, float]:
    """Encoders run without the plug-in: every request there is an image of the size that the bundle was tuned for."""
    tokens, tiles = work.image(1)
    pending = dict.fromkeys(PENDING, 0.0)
    pending |= {"pending_images": there, "pending_image_tokens": there * tokens, "pending_tiles": there * tiles}
    return pending | {"backlog_s": there * work.encode_s(tiles)}


def _arrived(samples: Samples) -> dict[str, float]:
    text, image = (total(samples, "slackwise:requests_total", **{"class": each}) for each in ("text", "image"))
    if text is None or image is None:
        requests = total(samples, "vllm:request_success_total") or 0.0
        tokens = {"text_tokens": "vllm:prompt_tokens_total", "output_tokens": "vllm:generation_tokens_total"}
        return {"text_requests": requests} | {key: total(samples, name) or 0.0 for key, name in tokens.items()}
    counted = {
        name: total(samples, f"slackwise:{name}_total") or 0.0 for name in ("images", "image_tokens", "text_tokens")
    }
    output = text * OUTPUT_ESTIMATE_TOKENS[TEXT] + image * OUTPUT_ESTIMATE_TOKENS[IMAGE]
    return {"text_requests": text, "image_requests": image, "output_tokens": output} | counted


def judged(samples: Samples, objectives: Mapping[str, float]) -> dict[str, float]:
    """Requests ever judged and those within their objectives, [ttft_judged, ttft_met, tbt_judged, tbt_met].

    TTFT by the plug-in, which knows each request's own objective; without it, and mean TBT always, by vLLM's histograms
    cut at the tighter objective of the two classes.
    """
    first, met = (total(samples, f"slackwise:{name}_total") for name in ("first_tokens", "ttft_met"))
    if first is None or met is None:
        tighter = min(objectives["text_ttft_s"], objectives["image_ttft_s"])
        first, met = _below(samples, "vllm:time_to_first_token_seconds_bucket", tighter)
    tighter = min(objectives["text_tbt_s"], objectives["image_tbt_s"])
    done, within = _below(samples, "vllm:request_time_per_output_token_seconds_bucket", tighter)
    return {"ttft_judged": first, "ttft_met": met, "tbt_judged": done, "tbt_met": within}


def _below(samples: Samples, name: str, limit: float) -> tuple[float, float]:
    """(all, those up to `limit`) of a histogram, in proportion within the bucket that holds it."""
    buckets: dict[float, float] = {}
    for (each, labels), count in samples.items():
        if each == name:
            end = float(dict(labels).get("le", "nan"))
            buckets[end] = buckets.get(end, 0.0) + count
    ends = sorted(buckets)
    if not ends:
        return 0.0, 0.0
    start, counted = 0.0, 0.0
    for end in ends:
        if end >= limit:
            share = (limit - start) / (end - start) if end < float("inf") else 0.0
            return buckets[ends[-1]], counted + share * (buckets[end] - counted)
        start, counted = end, buckets[end]
    return buckets[ends[-1]], counted
