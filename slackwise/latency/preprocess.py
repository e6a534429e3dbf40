"""CPU preprocessing of an image: decode, resize, normalise, before the encoder sees it."""

from __future__ import annotations

from math import ceil

from slackwise.errors import InputError
from slackwise.latency.images import image_tiles, native_patches
from slackwise.latency.model import Model

FIXED_S = 1e-3
SECONDS_PER_PIXEL_IN = 9e-9
SECONDS_PER_PIXEL_OUT = 18e-9
PREPROCESS_SOURCE = "measured: JPEG decode, bicubic resize, float32 normalise; Pillow 13, NumPy 2.3, one AMD EPYC core"


def preprocess_seconds(model: Model, width: int, height: int, images: int = 1) -> float:
    """Seconds of one worker (one core) for one image of `width` x `height` pixels in a request with `images` images.

    fixed + pixels read + pixels written; written are the encoder's tiles, padding included. ModServe (2025) finds a
    small share of TTFT that is linear in the batch and falls with more workers: images are independent.
    Raises InputError for a size or count below 1.
    """
    written = pixels_written(model, width, height, images)
    return FIXED_S + SECONDS_PER_PIXEL_IN * width * height + SECONDS_PER_PIXEL_OUT * written


def preprocess_images_seconds(model: Model, width: int, height: int, images: int, workers: int) -> float:
    """Seconds until `workers` workers have preprocessed a request's `images` images of one size, one image at a time.

    ceil(images / workers) rounds. Raises InputError for a size or count below 1.
    """
    if workers < 1:
        raise InputError(f"preprocessing needs at least 1 worker, not {workers}")
    return ceil(images / workers) * preprocess_seconds(model, width, height, images)


def pixels_written(model: Model, width: int, height: int, images: int = 1) -> int:
    """Pixels that the encoder is given for one image, padding included."""
    tiles = image_tiles(model, width, height, images)
    if model.vision.tiling == "native":
        columns, rows = native_patches(model.vision, width, height)
        return columns * rows * model.vision.patch_px**2
    return tiles * model.vision.tile_px**2


def tile_values(model: Model, width: int, height: int) -> float:
    """Colour values of one tile as the encoder is handed it: 3 a pixel, of a single image of `width` x `height` pixels.

    At native resolution a tile is the image, stored as two frames of a video (Qwen2-VL, 2024).
    """
    frames = 2 if model.vision.tiling == "native" else 1
    return 3 * frames * pixels_written(model, width, height) / image_tiles(model, width, height)
