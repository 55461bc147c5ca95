"""Latents of one pass -> the start of the next, larger one."""

from __future__ import annotations

import torch

from engine.errors import NonFiniteResult


def upscale_latents(latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """float32 (1, C, h, w) -> (1, C, height, width), bicubic: the start of a refining pass.

    The outermost cells stay one cell wide: a VAE with zero padding codes the border of a picture
    in a way of its own (up to -5 against 0.4 in one channel of the embedded model), and stretched
    over two cells that code decodes to a bright line along the edge.

    Raises:
        NonFiniteResult: the latents are not finite.
    """
    require_finite(latents, "latents")
    return _upscale_axis(_upscale_axis(latents, -2, height), -1, width)


def _upscale_axis(latents: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """One axis of `upscale_latents` (bicubic interpolation is separable).

    The two border cells give way to their neighbours before the interpolation, so that what lies
    inside keeps its place, and are put back after it.
    """
    last = latents.shape[dim] - 1
    inner = torch.arange(last + 1, device=latents.device).clamp(min(1, last), max(0, last - 1))
    shape = list(latents.shape[-2:])
    shape[dim] = size
    upscaled = torch.nn.functional.interpolate(
        latents.index_select(dim, inner), size=shape, mode="bicubic"
    )
    upscaled.select(dim, 0).copy_(latents.select(dim, 0))
    upscaled.select(dim, size - 1).copy_(latents.select(dim, last))
    return upscaled


def require_finite(tensor: torch.Tensor, what: str) -> None:
    """Refuses a tensor with NaN or infinity in it.

    Raises:
        NonFiniteResult: there is one.
    """
    if not bool(torch.isfinite(tensor).all()):
        raise NonFiniteResult(f"the {what} came out as NaN or infinity")
