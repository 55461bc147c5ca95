"""Upscaling latents between two passes."""

from __future__ import annotations

import pytest
import torch

from engine.errors import NonFiniteResult
from engine.upscale import upscale_latents


def test_upscaling_keeps_the_border_one_cell_wide() -> None:
    latents = torch.zeros(1, 4, 10, 12)
    latents[..., 0, :] = latents[..., -1, :] = -5.0
    latents[..., :, 0] = latents[..., :, -1] = -5.0
    upscaled = upscale_latents(latents, 23, 31)
    assert upscaled.shape == (1, 4, 23, 31)
    expected = torch.full_like(upscaled, -5.0)
    expected[..., 1:-1, 1:-1] = 0
    torch.testing.assert_close(upscaled, expected)


@pytest.mark.parametrize("factor", [2, 10])
def test_upscaling_leaves_everything_in_its_place(factor: int) -> None:
    """The second pass lies over the first: mask and shadow still belong together."""
    latents = torch.zeros(1, 4, 32, 32)
    latents[..., 8, 26] = 1.0
    upscaled = upscale_latents(latents, 32 * factor, 32 * factor)[0, 0].clamp(min=0)
    rows, columns = torch.meshgrid(*[torch.arange(32 * factor) + 0.5] * 2, indexing="ij")
    centre = [(axis * upscaled).sum() / upscaled.sum() / factor for axis in (rows, columns)]
    assert centre == [pytest.approx(8.5, abs=0.1), pytest.approx(26.5, abs=0.1)]


def test_upscaling_keeps_a_gradient() -> None:
    latents = torch.linspace(0, 1, 32).expand(1, 4, 16, 32)
    upscaled = upscale_latents(latents, 40, 80)
    torch.testing.assert_close(
        upscaled, torch.linspace(0, 1, 80).expand(1, 4, 40, 80), rtol=0, atol=0.02
    )


@pytest.mark.parametrize("size", [(1, 40), (2, 2), (3, 3)])
def test_narrow_latents_can_be_upscaled(size: tuple[int, int]) -> None:
    upscaled = upscale_latents(torch.ones(1, 4, *size), 50, 60)
    torch.testing.assert_close(upscaled, torch.ones(1, 4, 50, 60))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_an_error(value: float) -> None:
    latents = torch.zeros(1, 4, 8, 8)
    latents[0, 1, 2, 3] = value
    with pytest.raises(NonFiniteResult):
        upscale_latents(latents, 16, 16)
