"""Images of any size through a VAE in bounded memory: large ones by overlapping tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from engine.tile_grid import fewest_tiles_side
from engine.tiles import Tile, blend, blending_weights, cover
from engine.vae import LatentCodec

# Latent cells a VAE takes at once: 1024x1024 pixels, the native area of SDXL. What is larger takes
# as much memory as that, and one canvas of results.
MAX_CELLS = 128 * 128
# A full device is tried with a quarter of that again and again, down to 256x256 pixels.
MIN_CELLS = 32 * 32


@torch.inference_mode()
def encode_canvas(
    vae: LatentCodec, image: torch.Tensor, *, max_cells: int = MAX_CELLS
) -> torch.Tensor:
    """`LatentCodec.encode`, by tiles where the latents have more than `max_cells`.

    Where the device runs out of memory, by smaller ones.

    Args:
        vae: what encodes.
        image: (1, 3, H, W) in -1..1, sides multiples of the VAE's factor.
        max_cells: latent cells encoded at once.

    Returns:
        float32 (1, C, H/factor, W/factor) on the VAE's device.

    Raises:
        torch.OutOfMemoryError: not even the smallest tiles fit.
    """
    height, width = (side // vae.factor for side in image.shape[-2:])

    def encode(tiles: tuple[Tile, ...]) -> torch.Tensor:
        outputs = (vae.encode(tile.scaled(vae.factor).crop(image)) for tile in tiles)
        return blend(tiles, outputs, _weights(tiles, vae))

    return _by_tiles(encode, height, width, max_cells)


@torch.inference_mode()
def decode_canvas(
    vae: LatentCodec, latents: torch.Tensor, *, max_cells: int = MAX_CELLS
) -> torch.Tensor:
    """`LatentCodec.decode`, by tiles where there are more than `max_cells`.

    Where the device runs out of memory, by smaller ones.

    Args:
        vae: what decodes.
        latents: float32 (1, C, h, w).
        max_cells: latent cells decoded at once.

    Returns:
        float32 (1, 3, h*factor, w*factor), about -1..1, on the VAE's device.

    Raises:
        torch.OutOfMemoryError: not even the smallest tiles fit.
    """

    def decode(cells: tuple[Tile, ...]) -> torch.Tensor:
        tiles = [tile.scaled(vae.factor) for tile in cells]
        outputs = (vae.decode(tile.crop(latents)) for tile in cells)
        return blend(tiles, outputs, _weights(tiles, vae))

    height, width = latents.shape[-2:]
    return _by_tiles(decode, height, width, max_cells)


def vae_tiles(height: int, width: int, max_cells: int = MAX_CELLS) -> tuple[Tile, ...]:
    """The tiles of a latent: one where it has at most `max_cells`, else as few as cover it."""
    if height * width <= max_cells:
        return (Tile(0, 0, height, width),)
    # A side shorter than a square tile's leaves the other one more.
    square = math.isqrt(max_cells)
    longest_height = max(square, max_cells // width)
    longest_width = max(square, max_cells // height)
    tile_height = fewest_tiles_side(height, longest_height)
    tile_width = fewest_tiles_side(width, longest_width)
    return cover(height, width, tile_height, tile_width)


def _by_tiles(
    run: Callable[[tuple[Tile, ...]], torch.Tensor], height: int, width: int, max_cells: int
) -> torch.Tensor:
    """`run` on the largest tiles that fit into the device's memory."""
    while max_cells > MIN_CELLS:
        tiles = vae_tiles(height, width, max_cells)
        try:
            return run(tiles)
        except torch.OutOfMemoryError:
            pass  # left here, for its traceback holds on to what fills the memory
        max_cells = max(MIN_CELLS, min(tiles[0].height * tiles[0].width, max_cells) // 4)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return run(vae_tiles(height, width, max_cells))


def _weights(tiles: Sequence[Tile], vae: LatentCodec) -> tuple[torch.Tensor, ...]:
    return blending_weights(tiles, vae.module.device)
