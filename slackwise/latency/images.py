"""From the pixels of an image to tiles (encoder) and tokens (LLM), by each model's rule."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, sqrt

from slackwise.errors import InputError
from slackwise.latency.model import Model, Vision


def image_tiles(model: Model, width: int, height: int, images: int = 1) -> int:
    """Tiles, padding included, that the encoder computes for one image of a request with `images` images.

    `slots` (Llama 3.2): always all 4 slots. `anyres` (LLaVA-OneVision): base tile + grid for a single image, one tile
    each for several. `dynamic` (InternVL, NVLM): best grid + thumbnail. `native` (Qwen): 1, the image itself.
    Raises InputError for a size or count below 1.
    """
    _check(width, height, images)
    vision = model.vision
    if vision.tiling == "slots":
        return vision.max_tiles
    if vision.tiling == "anyres":
        columns, rows = _anyres_grid(vision, width, height)
        return 1 + columns * rows if images == 1 else 1
    if vision.tiling == "dynamic":
        return _dynamic_tiles(vision, width, height)
    return 1


def image_tokens(model: Model, width: int, height: int, images: int = 1) -> int:
    """Tokens that one image of a request with `images` images gives to the LLM.

    Cross-attention models: tokens read by the cross-attention layers, of the tiles really used. LLaVA-OneVision: as
    implemented, with one newline token a feature row (7371 for 896 x 896; ModServe counts 7290 without them).
    Raises InputError for a size or count below 1.
    """
    _check(width, height, images)
    vision = model.vision
    if vision.tiling == "slots":
        columns, rows = _canvas(vision, width, height)
        return columns * rows * vision.tile_tokens
    if vision.tiling == "anyres":
        return vision.tile_tokens + (_anyres_features(vision, width, height) if images == 1 else 0)
    if vision.tiling == "dynamic":
        return _dynamic_tiles(vision, width, height) * vision.tile_tokens
    columns, rows = native_patches(vision, width, height)
    return columns * rows // vision.merge**2


def largest_image_tokens(model: Model) -> int:
    """Tokens of the largest image of `model`, as engines reserve for it (vLLM V1: maximum tokens per item).

    `slots` and `dynamic`: every tile used, with the thumbnail. `native`: the pixel limit. `anyres`: the best of the
    grids' own resolutions, as vLLM profiles LLaVA-OneVision; odd shapes between two grids may exceed it a little.
    """
    vision = model.vision
    if vision.tiling == "slots":
        return vision.max_tiles * vision.tile_tokens
    if vision.tiling == "anyres":
        grids = [(columns, rows) for columns in range(1, 7) for rows in range(1, 7)]
        return max(image_tokens(model, columns * vision.tile_px, rows * vision.tile_px) for columns, rows in grids)
    if vision.tiling == "dynamic":
        return (vision.max_tiles + (vision.max_tiles > 1)) * vision.tile_tokens
    return vision.max_pixels // (vision.patch_px * vision.merge) ** 2


def native_patches(vision: Vision, width: int, height: int) -> tuple[int, int]:
    """Patches (columns, rows) of an image at native resolution: sides rounded to whole tokens, within the pixel limits.

    The `smart_resize` rule of Qwen2-VL (2024). Raises InputError for a size below 1.
    """
    _check(width, height, 1)
    side = vision.patch_px * vision.merge
    columns, rows = max(1, round(width / side)), max(1, round(height / side))
    pixels = columns * rows * side**2
    if pixels > vision.max_pixels:
        shrink = sqrt(width * height / vision.max_pixels)
        columns, rows = max(1, floor(width / shrink / side)), max(1, floor(height / shrink / side))
    elif pixels < vision.min_pixels:
        grow = sqrt(vision.min_pixels / (width * height))
        columns, rows = ceil(width * grow / side), ceil(height * grow / side)
    return columns * vision.merge, rows * vision.merge


def _check(width: int, height: int, images: int) -> None:
    for name, value in (("width", width), ("height", height), ("images", images)):
        if value < 1:
            raise InputError(f"{name} of an image must be at least 1, not {value}")


def _canvas(vision: Vision, width: int, height: int) -> tuple[int, int]:
    """Tiles (columns, rows) of the canvas of Llama 3.2: the least enlargement, else the least shrinking, then area."""
    limit = vision.max_tiles
    grids = [(c, r) for c in range(1, limit + 1) for r in range(1, limit + 1) if c * r <= limit]
    scales = {(c, r): min(c * vision.tile_px / width, r * vision.tile_px / height) for c, r in grids}
    enlarging = [scale for scale in scales.values() if scale >= 1]
    best = min(enlarging) if enlarging else max(scales.values())
    return min((grid for grid in grids if scales[grid] == best), key=lambda grid: grid[0] * grid[1])


@lru_cache(maxsize=256)
def _anyres_grid(vision: Vision, width: int, height: int) -> tuple[int, int]:
    """Grid (columns, rows) of LLaVA-NeXT's select_best_resolution: most pixels kept, then least waste; up to 6 x 6."""

    def rank(grid: tuple[int, int]) -> tuple[int, int]:
        across, down = grid[0] * vision.tile_px, grid[1] * vision.tile_px
        scale = min(across / width, down / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - across * down

    return max(((c, r) for c in range(1, 7) for r in range(1, 7)), key=rank)


def _anyres_features(vision: Vision, width: int, height: int) -> int:
    """Grid tokens of a single LLaVA-OneVision image: padding cut off, shrunk above max_tiles, a newline a row."""
    side = round(sqrt(vision.tile_tokens))
    columns, rows = (count * side for count in _anyres_grid(vision, width, height))
    if width / height > columns / rows:
        rows -= 2 * ((rows - int(height * columns / width)) // 2)
    else:
        columns -= 2 * ((columns - int(width * rows / height)) // 2)
    shrink = sqrt(columns * rows / (vision.max_tiles * vision.tile_tokens))
    if shrink > 1.1:
        columns, rows = int(columns // shrink), int(rows // shrink)
    return rows * (columns + 1)


@lru_cache(maxsize=256)
def _dynamic_tiles(vision: Vision, width: int, height: int) -> int:
    """Tiles of InternVL's dynamic_preprocess: the grid of the closest aspect ratio, and a thumbnail if above one."""
    limit, wanted = vision.max_tiles, width / height
    grids = [(c, r) for c in range(1, limit + 1) for r in range(1, limit + 1) if c * r <= limit]
    best, best_difference = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        difference = abs(wanted - columns / rows)
        fills = width * height > 0.5 * vision.tile_px**2 * columns * rows
        if difference < best_difference or (difference == best_difference and fills):
            best, best_difference = (columns, rows), difference
    tiles = best[0] * best[1]
    return tiles + 1 if tiles > 1 else 1
