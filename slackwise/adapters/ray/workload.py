"""From what a client asks to the features that policies read: counts checked, tokens and seconds estimated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from slackwise.adapters.ray.instances import request_costs
from slackwise.adapters.vllm.deadlines import ClassObjectives, class_objectives
from slackwise.adapters.vllm.estimates import Estimator, image_size_of
from slackwise.errors import InputError
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import load_model
from slackwise.policies.features import IMAGE, NOT_QUEUED, OUTPUT_ESTIMATE_TOKENS, REQUEST, TEXT
from slackwise.policies.winner import Winner
from slackwise.streams import stream

CHARACTERS_PER_TOKEN = 4.0
"""Of English text, roughly: a router has no tokenizer."""

MOST_MESSAGES, MOST_PARTS = 1024, 4096
"""Messages of a request, and parts of a message."""


@dataclass(frozen=True)
class Asked:
    """What a chat request brings: images as they were sent, characters of text, tokens at most (None: not said).

    And whether its answer is to be streamed, with the usage in a last chunk.
    """

    images: tuple[Mapping[str, Any], ...]
    characters: int
    max_tokens: int | None
    stream: bool = False
    include_usage: bool = False


def read_chat(body: Any, most_images: int) -> Asked:
    """The contents of an OpenAI chat request. Raises InputError for what is none, or has more than `most_images`."""
    if not isinstance(body, Mapping):
        raise InputError(f"a chat request is a JSON object, not {type(body).__name__}")
    messages = body.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
        raise InputError(f"messages must be a list of 1 to {MOST_MESSAGES} messages")
    images: list[Mapping[str, Any]] = []
    characters = 0
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, str):
            characters += len(content)
            continue
        if content is None and isinstance(message, Mapping) and "role" in message:
            continue
        if not isinstance(content, list) or len(content) > MOST_PARTS:
            raise InputError(f"content of a message must be text or a list of at most {MOST_PARTS} parts")
        for part in content:
            image, letters = _part(part)
            images += [image] if image is not None else []
            characters += letters
    if len(images) > most_images:
        raise InputError(f"a request may have {most_images} images, this one has {len(images)}")
    return Asked(tuple(images), characters, _most_tokens(body), *_streaming(body))


def _part(part: Any) -> tuple[Mapping[str, Any] | None, int]:
    """(image or None, characters) of a part."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return None, len(part["text"])
    if kind == "image_url":
        url = part.get("image_url")
        address = url.get("url") if isinstance(url, Mapping) else url
        if isinstance(address, str) and address:
            return part, 0
    raise InputError("a part of a message must be text, or an image_url with its url")


def _streaming(body: Mapping[str, Any]) -> tuple[bool, bool]:
    """(stream, include_usage)."""
    stream, options = body.get("stream"), body.get("stream_options")
    usage = options.get("include_usage") if isinstance(options, Mapping) else None
    if not (stream is None or isinstance(stream, bool)) or not (usage is None or isinstance(usage, bool)):
        raise InputError("stream and stream_options.include_usage must be true or false")
    if not (options is None or isinstance(options, Mapping)):
        raise InputError("stream_options must be an object")
    return bool(stream), bool(usage)


def _most_tokens(body: Mapping[str, Any]) -> int | None:
    value = body.get("max_completion_tokens", body.get("max_tokens"))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise InputError("max_tokens must be a whole number above 0")
    return value


class Work:
    """Features of requests for one model on one kind of instance."""

    def __init__(self, predicted: Estimator, objectives: ClassObjectives, tensor_parallel: int) -> None:
        self.predicted, self.objectives, self.tensor_parallel = predicted, objectives, tensor_parallel
        self.encode_s_per_tile = float(predicted.costs.record["encode_s_per_tile"])
        self.prefill_s_per_token = predicted.prefill_s_per_token
        self.tightest_ttft_s = objectives.tightest_s
        self._draws, self._sequence = stream(0, "routing"), 0

    def encode_s(self, tiles: int) -> float:
        """Seconds to encode so many tiles."""
        return self.predicted.encode_s(tiles)

    def request(self, asked: Asked, arrival_s: float) -> Any:
        """REQUEST, shape (1,). Images are taken to have the size that the bundle was tuned for."""
        made, images = np.zeros(1, REQUEST), len(asked.images)
        each, tiles = self.image(images)
        text = max(1, math.ceil(asked.characters / CHARACTERS_PER_TOKEN))
        prompt = min(text + (0 if self.predicted.model.cross_attention else images * each), 2**31 - 1)
        modality = IMAGE if images else TEXT
        output = min(OUTPUT_ESTIMATE_TOKENS[modality], asked.max_tokens or OUTPUT_ESTIMATE_TOKENS[modality])
        prefill_s, encode_s = self.predicted.prefill_s(prompt, prompt), self.encode_s(images * tiles)
        values = {
            "arrival_s": arrival_s,
            "deadline_s": arrival_s + self.objectives.ttft_s(images, None, encode_s + prefill_s),
            "encode_estimate_s": encode_s,
            "prefill_estimate_s": prefill_s,
            "draw": self._draws.random(),
            "queued_s": NOT_QUEUED,
            "sequence": self._sequence,
            "id": self._sequence % (1 << 31),
            "modality": modality,
            "images": images,
            "images_left": images,
            "tokens_per_image": each,
            "tiles_per_image": tiles,
            "image_tokens": images * each,
            "text_tokens": text,
            "prompt_tokens": prompt,
            "prompt_tokens_left": prompt,
            "output_estimate_tokens": output,
        }
        for name, value in values.items():
            made[name] = value
        self._sequence += 1
        return made

    def job(self, request: Any) -> Any:
        """The encode job of one image of a request, REQUEST, shape (1,), with a draw of its own."""
        job = request.copy()
        job["job_images"], job["draw"] = 1, self._draws.random()
        job["job_image_tokens"], job["job_tiles"] = request["tokens_per_image"], request["tiles_per_image"]
        return job

    def encoded(self, request: Any) -> Any:
        """The request once its images are encoded elsewhere, REQUEST, shape (1,)."""
        left = request.copy()
        left["images_left"], left["encode_estimate_s"], left["draw"] = 0, 0.0, self._draws.random()
        return left

    def image(self, images: int) -> tuple[int, int]:
        """(tokens, tiles) of an image of a request with so many."""
        if images == 0:
            return 0, 0
        model, size = self.predicted.model, self.predicted.image_size
        return image_tokens(model, *size, images), image_tiles(model, *size, images)


def work_for(winner: Winner, tensor_parallel: int) -> Work:
    """Features for a bundle's model as its pools serve it; `tensor_parallel` is that of the pool that is routed to."""
    predicted = Estimator(request_costs(winner), load_model(winner.model), image_size_of(winner.cluster))
    return Work(predicted, class_objectives(winner.objectives, {}), tensor_parallel)


def call_features(work: Work, call: Mapping[str, Any]) -> Any:
    """REQUEST, shape (1,), of a call that the ingress sends: an encode job of one image, or the request itself."""
    asked = Asked(({},) * int(call["images"]), int(call["characters"]), call["max_tokens"])
    request = work.request(asked, float(call["arrival_s"]))
    if call["kind"] == "encode":
        return work.job(request)
    return work.encoded(request) if call["encoded"] else request
