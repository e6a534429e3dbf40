"""Section 3: where the time of a request goes, what a batch gains, what tensor parallelism gains; no traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from slackwise.latency.costs import StepCosts
from slackwise.latency.gpu import load_gpu
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import Model, load_model
from slackwise.latency.perturb import CONSTANTS, perturbed
from slackwise.latency.roofline import roofline
from slackwise.latency.stages import prefill_seconds, seconds_of
from slackwise.tuning.reproduce import paper
from slackwise.tuning.reproduce.finding import CHECK, OURS, SHOWN, Finding, Goal, Row, judged
from slackwise.tuning.reproduce.services import Tuned
from slackwise.tuning.reproduce.setting import INTERN, LLAMA, Progress, Setting

SIZE = (896, 896)
TEXT = 230
"""Text tokens at which the shares of the paper's Llama-3.2-11B are met by counting FLOPs."""

DEFAULT_TP = {LLAMA: 4}
BATCHES = (1, 2, 4, 8, 16, 32)
WIDTHS = (1, 2, 4, 8)
ERROR = 0.15
"""The interval: the least and the most with one constant of the latency model off by so much."""

MIXED = (16384, 10, 1601)
"""Prompt of the mixed-modality experiment: tokens, and images of so many tokens."""

NVLM = "NVLM-D-72B"
Measure = Callable[[Model, StepCosts], float]


def stages(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """Encode shares, batching curves, tensor-parallel curves, mixed modality."""
    progress("stages", 0.0)
    rows = [*_shares(setting), *_batching(setting), *_widths(setting), *_mixed(setting)]
    curves = {"batch": _batch_curves(setting), "width": _width_curves(setting)}
    why = (
        "These are answers of the latency model alone: without the host's work its encoders are faster at TP-8 than at "
        "TP-4, while the paper found Llama's slower; the paper's shares of InternVL and NVLM-D look exchanged, so they "
        "are no target."
    )
    return Finding(tuple(rows), why, tuple(_goals(curves)), (), {"curves": curves})


def _costs(setting: Setting, model: str, width: int) -> StepCosts:
    return roofline(load_model(model), load_gpu(setting.gpu), width, setting.engine, SIZE)


def _spread(setting: Setting, model: str, width: int, measure: Measure) -> tuple[float, float, float]:
    """A number, and its least and most with a constant moved."""
    about, costs = load_model(model), _costs(setting, model, width)
    moved = [
        measure(about, perturbed(costs, name, factor)) for name in CONSTANTS for factor in (1.0 - ERROR, 1.0 + ERROR)
    ]
    value = measure(about, costs)
    return value, min(value, *moved), max(value, *moved)


def _encode_s(model: Model, costs: StepCosts, images: int = 1) -> float:
    return seconds_of(costs, tiles=images * image_tiles(model, *SIZE))


def _prefill_s(model: Model, costs: StepCosts, requests: int = 1) -> float:
    """Seconds of a step that prefills requests of TEXT tokens and one image."""
    one = prefill_seconds(model, costs, TEXT, image_tokens(model, *SIZE))
    if requests == 1:
        return one
    tokens, inside = image_tokens(model, *SIZE), 0 if model.cross_attention else 1
    outside = round(model.prefill_tokens_per_image(tokens)) if model.cross_attention else 0
    prompt = TEXT + inside * tokens
    pairs = prompt**2 / 2 + (0 if inside else TEXT * tokens * model.kv_tokens_per_image_token)
    return seconds_of(costs, requests * (prompt + outside), pairs=requests * pairs)


def _decode_s(model: Model, costs: StepCosts, requests: int) -> float:
    return seconds_of(costs, requests, requests * 1024)


def _share(model: Model, costs: StepCosts) -> float:
    encode = _encode_s(model, costs)
    return 100 * encode / (encode + _prefill_s(model, costs))


def _shares(setting: Setting) -> Iterator[Row]:
    for model, (said, exchanged) in paper.ENCODE_SHARE.items():
        width = DEFAULT_TP.get(model, 8)
        value, low, high = _spread(setting, model, width, _share)
        case = f"{model}, TP-{width}, one image, {TEXT} text tokens"
        yield Row("encode share of TTFT", case, value, "%", low, high, said, SHOWN if exchanged else CHECK, True)


def _batching(setting: Setting) -> Iterator[Row]:
    """Throughput at a batch of 8 over that at 1; the paper's numbers are read from words: none, or linear."""
    gains: dict[str, tuple[Callable[[Model, StepCosts, int], float], dict[str, float]]] = {
        "encode": (_encode_s, {LLAMA: 1.0, INTERN: 1.0}),
        "decode": (_decode_s, {LLAMA: 8.0, INTERN: 8.0}),
        "prefill": (_prefill_s, {INTERN: 1.0}),
    }
    for stage, (seconds, said) in gains.items():
        for model in (LLAMA, INTERN):

            def gain(about: Model, costs: StepCosts, seconds: Any = seconds) -> float:
                return 8 * float(seconds(about, costs, 1)) / float(seconds(about, costs, 8))

            known = said.get(model)
            values = _spread(setting, model, 4, gain)
            use = CHECK if known else OURS
            yield Row(
                f"{stage}: throughput of a batch of 8 over 1", f"{model}, TP-4", values[0], "x", *values[1:], known, use
            )


def _widths(setting: Setting) -> Iterator[Row]:
    for model, stage, said in ((LLAMA, "encode", 4), (LLAMA, "prefill", 8), (LLAMA, "decode step", 1)):
        curve = _width_curve(setting, model)[stage]
        best = min(curve, key=lambda width: curve[width])
        yield Row(f"{stage}: best TP", model, float(best), "-", None, None, float(said), CHECK, True)
    half, whole = (_encode_s(load_model(NVLM), _costs(setting, NVLM, width)) for width in (4, 8))
    yield Row("encode: TP-4 over TP-8", NVLM, half / whole, "x", None, None, 1.3, CHECK)


def _mixed(setting: Setting) -> Iterator[Row]:
    """TTFT of a prompt that is all images over one that is all text."""
    tokens, images, each = MIXED

    def factor(about: Model, costs: StepCosts) -> float:
        encode = seconds_of(costs, tiles=images * image_tiles(about, 448, 448))
        pictures = images * each
        return (encode + prefill_seconds(about, costs, tokens - pictures, pictures)) / prefill_seconds(
            about, costs, tokens
        )

    value, low, high = _spread(setting, LLAMA, 4, factor)
    case = f"{LLAMA}, {tokens:,} tokens, {images} images of {each:,} against none"
    yield Row("TTFT of an image-only prompt over a text-only one", case, value, "x", low, high, 1.5, CHECK)


def _batch_curves(setting: Setting) -> dict[str, Any]:
    """Model -> stage -> requests a second at each batch."""
    found: dict[str, Any] = {}
    for model in (LLAMA, INTERN):
        about, costs = load_model(model), _costs(setting, model, 4)
        found[model] = {
            "encode": [[batch, batch / _encode_s(about, costs, batch)] for batch in BATCHES],
            "prefill": [[batch, batch / _prefill_s(about, costs, batch)] for batch in BATCHES],
            "decode step": [[batch, batch / _decode_s(about, costs, batch)] for batch in BATCHES],
        }
    return found


def _width_curve(setting: Setting, model: str) -> dict[str, dict[int, float]]:
    """Stage -> tensor parallelism -> seconds of one request."""
    about, found = load_model(model), dict[str, dict[int, float]]()
    for width in WIDTHS:
        costs = _costs(setting, model, width)
        found.setdefault("encode", {})[width] = _encode_s(about, costs)
        found.setdefault("prefill", {})[width] = _prefill_s(about, costs)
        found.setdefault("decode step", {})[width] = _decode_s(about, costs, 1)
    return found


def _width_curves(setting: Setting) -> dict[str, Any]:
    curves = {model: _width_curve(setting, model) for model in (LLAMA, INTERN)}
    return {
        model: {stage: [[width, seconds] for width, seconds in line.items()] for stage, line in each.items()}
        for model, each in curves.items()
    }


def _goals(curves: Mapping[str, Any]) -> Iterator[Goal]:
    for model, lines in curves["batch"].items():
        gains = {stage: line[3][1] / line[0][1] for stage, line in lines.items()}
        by = ", ".join(f"{stage} x {gain:.2f}" for stage, gain in gains.items())
        holds = gains["encode"] < 1.5 < 4.0 < gains["decode step"]
        yield judged(
            f"{model}: encode gains nothing from a batch of 8 (below x 1.5), decode does (above x 4)", holds, by
        )
    for stage, best in (("encode", 4), ("prefill", 8), ("decode step", 1)):
        line = dict(curves["width"][LLAMA][stage])
        found = min(line, key=lambda width: line[width])
        by = ", ".join(f"TP-{width} {1e3 * seconds:.1f} ms" for width, seconds in line.items())
        yield judged(f"{LLAMA}: {stage} is fastest at TP-{best}", found == best, by)
