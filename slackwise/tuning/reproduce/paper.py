"""The paper's numbers (Qiu et al., SoCC 2025), and which of them a simulator may be checked with."""

from __future__ import annotations

from collections.abc import Mapping

from slackwise.tuning.reproduce.setting import INTERN, LLAMA

REDUCTION: Mapping[str, Mapping[str, tuple[float, float]]] = {
    LLAMA: {"Decoup": (27.0, 42.0), "+ Sched": (12.0, 25.0), "+ Routing": (14.0, 32.0)},
    INTERN: {"Decoup": (46.0, 47.0), "+ Sched": (12.0, 25.0), "+ Routing": (14.0, 32.0)},
}
"""Section 5.2: mean and P99 TTFT lower than at the step before, in per cent; the last two not separated by model."""

THROUGHPUT: Mapping[str, float] = {LLAMA: 3.3, INTERN: 5.5}
"""Section 5.2: highest rate within the objectives, 4 to 16 servers, times the monolith's."""

THROUGHPUT_OVER_SLOS: Mapping[str, float] = {LLAMA: 4.3, INTERN: 6.8}
"""Section 5.3: the most over the SLO scale."""

GPUS_SAVED: Mapping[str, float] = {LLAMA: 41.3, INTERN: 25.0}
"""Section 5.2: per cent of GPUs over a day with an image burst, both sides autoscaled."""

BEST_RATIO: Mapping[str, float] = {LLAMA: 18.4, INTERN: 9.2}
"""Section 5.3: the best P99 factor of a cell of the ratio grid; a maximum of cells, never a target."""

BREAK_EVEN = (1.33, 2.4)
"""Section 5.3: encoders per text instance between which the monolith is met."""

OVER_DISAGGREGATION = (2.8, 3.2)
"""Section 5.3: mean and P90 TTFT on top of prefill/decode disaggregation, 32 GPUs, InternVL."""

RDMA_P99_S, RDMA_SHARE = 0.005, {LLAMA: 0.5, INTERN: 0.3}
"""Section 5.3: image-token transfer by InfiniBand, seconds at P99, and per cent of TTFT at most."""

TCP_P50_S, TCP_P99_S = 0.100, 0.180
TCP_GAIN = {"high": (35.0, 46.0), "low": (8.4, 13.0)}
"""Section 5.3: TTFT reduction by TCP, and by InfiniBand, InternVL, in per cent."""

ENCODE_SHARE: Mapping[str, tuple[float, bool]] = {
    LLAMA: (79.0, False),
    "Llama-3.2-90B-Vision": (65.0, False),
    INTERN: (25.0, True),
    "NVLM-D-72B": (54.0, True),
}
"""Section 3.1: encode share of TTFT in per cent, and whether it is one of the two that look exchanged."""
