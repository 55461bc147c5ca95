"""Updates of one module's weight, in the form in which they run beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """`up^T @ down`, and a change of the base output's scale where it is a DoRA.

    Attributes:
        factors: (r, columns + out), down beside up, so that both are picked at once. The columns of
            a Conv2d come in the order kh, kw, in, as channels_last lays weights out; `up` holds the
            scale.
        gain: (out,), g - 1 where a DoRA multiplies the whole weight's rows by g; `up` holds g
            already. None otherwise.
    """

    factors: torch.Tensor
    gain: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Kronecker:
    """`scale * kron(left, right)`.

    Attributes:
        left: (a, b).
        right: (c, d) for a Linear, (c, d, kh, kw) for a Conv2d; a * c is out, b * d is in.
        scale: of the product; kept apart so that small factors survive float16.
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


def tensors_of(update: Update) -> list[torch.Tensor]:
    """All it is made of."""
    match update:
        case LowRank():
            return [update.factors] if update.gain is None else [update.factors, update.gain]
        case Kronecker():
            return [update.left, update.right]
        case Dense():
            return [update.weight]


def with_tensors(update: Update, tensors: Sequence[torch.Tensor]) -> Update:
    """The same update made of `tensors`, in the order of `tensors_of`."""
    match update:
        case LowRank():
            return LowRank(*tensors)
        case Kronecker():
            left, right = tensors
            return Kronecker(left, right, update.scale)
        case Dense():
            (weight,) = tensors
            return Dense(weight, update.scale)


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
