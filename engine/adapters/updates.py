"""Updates of one module's weight, in the form in which they run beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """`scale * up^T @ down`, and a change of the base output's scale where it is a DoRA.

    Attributes:
        down: (r, in) for a Linear, (r, in, kh, kw) for a Conv2d.
        up: (r, out).
        scale: of the product; kept apart so that small factors survive float16.
        gain: (out,), g - 1 where a DoRA multiplies the whole weight's rows by g; `up` holds g
            already. None otherwise.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float
    gain: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Kronecker:
    """`scale * kron(left, right)`.

    Attributes:
        left: (a, b).
        right: (c, d) for a Linear, (c, d, kh, kw) for a Conv2d; a * c is out, b * d is in.
        scale: of the product.
    """

    left: torch.Tensor
    right: torch.Tensor
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """`scale * weight`, for what has no cheaper exact form.

    Attributes:
        weight: of the shape of the base weight.
        scale: of it.
    """

    weight: torch.Tensor
    scale: float


Update = LowRank | Kronecker | Dense


def num_bytes(update: Update) -> int:
    """Memory its tensors take."""
    if isinstance(update, LowRank):
        tensors = [update.down, update.up, update.gain]
    elif isinstance(update, Kronecker):
        tensors = [update.left, update.right]
    else:
        tensors = [update.weight]
    return sum(each.numel() * each.element_size() for each in tensors if each is not None)


def in_range(tensor: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, float]:
    """`tensor` in `dtype` and the factor that was taken out of it, a power of two.

    Trained factors can be so small that float16 has no digits left for them. Their largest entry
    is brought near 1/32, the size of a trained weight of a layer of a thousand inputs, so that
    neither they vanish nor their products overflow. A power of two costs no digit.
    """
    largest = float(tensor.abs().max())
    if largest == 0:
        return tensor.to(dtype), 1.0
    exponent = math.frexp(largest)[1] + 4
    return (tensor * 2.0**-exponent).to(dtype).contiguous(), 2.0**exponent
