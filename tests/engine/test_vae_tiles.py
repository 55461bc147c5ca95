"""Large images go through the VAE by tiles and come out as if they had not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.registry import Registry
from engine.vae import LatentCodec
from engine.vae_tiles import decode_canvas, encode_canvas, vae_tiles


@pytest.fixture(scope="module")
def embedded(embedded_registry: Registry) -> Checkpoint:
    model = embedded_registry.main_model("PICPIK General")
    return load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """(1, 3, 384, 512) in -1..1: soft shapes and some grain."""
    rng = np.random.default_rng(0)
    soft = gaussian_filter(rng.standard_normal((384, 512, 3)), (12, 12, 0))
    grain = gaussian_filter(rng.standard_normal((384, 512, 3)), (1, 1, 0))
    pixels = np.tanh(soft / soft.std() + 0.2 * grain)
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))[None]


@pytest.mark.parametrize("size", [(128, 128), (64, 256), (1, 1)])
def test_what_fits_at_once_is_one_tile(size: tuple[int, int]) -> None:
    (tile,) = vae_tiles(*size)
    assert (tile.height, tile.width) == size


@pytest.mark.parametrize("size", [(320, 320), (8, 2500), (129, 128), (100, 320)])
def test_no_tile_is_larger_than_allowed(size: tuple[int, int]) -> None:
    tiles = vae_tiles(*size, 40 * 40)
    assert all(tile.height * tile.width <= 40 * 40 for tile in tiles)
    assert len(vae_tiles(*size)) < len(tiles)


def test_a_small_image_is_encoded_and_decoded_in_one_piece(
    embedded: Checkpoint, picture: torch.Tensor
) -> None:
    vae, image = embedded.vae, picture[..., :64, :96]
    latents = vae.encode(image)
    assert torch.equal(encode_canvas(vae, image), latents)
    assert torch.equal(decode_canvas(vae, latents), vae.decode(latents))


def test_tiled_encoding_equals_that_of_the_whole_image(
    embedded: Checkpoint, picture: torch.Tensor
) -> None:
    whole = embedded.vae.encode(picture)
    tiled = encode_canvas(embedded.vae, picture, max_cells=40 * 40)
    assert len(vae_tiles(48, 64, 40 * 40)) == 4
    difference = (tiled - whole).abs()
    assert difference.max() < 0.1 * whole.std()
    assert difference.mean() < 0.001 * whole.std()


def test_tiled_decoding_shows_no_seam(embedded: Checkpoint, picture: torch.Tensor) -> None:
    latents = embedded.vae.encode(picture)
    whole = embedded.vae.decode(latents)
    tiled = decode_canvas(embedded.vae, latents, max_cells=40 * 40)
    levels = (tiled - whole).abs() * 127.5
    assert levels.mean() < 0.1
    assert levels.quantile(0.999) < 2


def test_the_tiles_of_a_picture_are_decoded_one_after_the_other(
    embedded: Checkpoint, picture: torch.Tensor
) -> None:
    sizes: list[int] = []

    class Recorder(LatentCodec):
        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            sizes.append(latents.shape[-1] * latents.shape[-2])
            return super().decode(latents)

    recorder = Recorder(embedded.vae.module)
    decode_canvas(recorder, embedded.vae.encode(picture), max_cells=40 * 40)
    assert len(sizes) == 4
    assert max(sizes) <= 40 * 40


def test_a_solid_picture_stays_solid_over_tiles(embedded: Checkpoint) -> None:
    color = torch.tensor([90.0, 120.0, 150.0]) / 127.5 - 1
    image = color[None, :, None, None].expand(1, 3, 512, 512)
    latents = encode_canvas(embedded.vae, image, max_cells=40 * 40)
    pixels = decode_canvas(embedded.vae, latents, max_cells=40 * 40)[..., 32:-32, 32:-32]
    assert ((pixels - image[..., 32:-32, 32:-32]) * 127.5).abs().max() < 4


class _Full(LatentCodec):
    """On a device that holds so many latent cells of a picture."""

    def __init__(self, codec: LatentCodec, max_cells: int) -> None:
        super().__init__(codec.module)
        self._max_cells = max_cells

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        self._refuse(image.shape[-1] // self.factor * image.shape[-2] // self.factor)
        return super().encode(image)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        self._refuse(latents.shape[-1] * latents.shape[-2])
        return super().decode(latents)

    def _refuse(self, cells: int) -> None:
        if cells > self._max_cells:
            raise torch.OutOfMemoryError("out of memory")


def test_a_full_device_takes_smaller_tiles(embedded: Checkpoint, picture: torch.Tensor) -> None:
    full = _Full(embedded.vae, max_cells=1100)
    latents = encode_canvas(full, picture)
    pixels = decode_canvas(full, latents)
    whole = embedded.vae.decode(embedded.vae.encode(picture))
    assert ((pixels - whole).abs() * 127.5).mean() < 0.5


def test_a_device_without_room_for_the_smallest_tile_says_so(
    embedded: Checkpoint, picture: torch.Tensor
) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        encode_canvas(_Full(embedded.vae, max_cells=400), picture)
