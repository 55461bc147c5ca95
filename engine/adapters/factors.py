"""The tensors of one module in a LoRA file -> its update.

All products are formed in at least float32 and only then brought to the model's dtype.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from engine.adapters.lora_shapes import UpdateShape
from engine.adapters.updates import Dense, Kronecker, LowRank, Update, in_range

# A Hadamard product of two rank-r matrices is a product of rank r * r. Up to here that is run as
# two thin products; beyond it a dense update is cheaper on layers of diffusion size.
MAX_KHATRI_RAO_RANK = 64

Parts = Mapping[str, torch.Tensor]


def build_update(
    parts: Parts, shape: UpdateShape, alpha: float, module: nn.Linear | nn.Conv2d
) -> Update:
    """Brings one module's parts into the form that runs.

    Args:
        parts: by part name, in the dtype the products are formed in, on the module's device.
        shape: of these parts; it fits `module`.
        alpha: the scale is alpha / rank; without meaning where `shape.rank` is None.
        module: what is updated; its weight is read, never written.
    """
    scale = 1.0 if shape.rank is None else alpha / shape.rank
    magnitude = _magnitude(parts, module.weight)
    if shape.kind == "lokr" and magnitude is None:
        left, right = _kronecker_factors(parts)
        right = right.reshape(len(right), -1, *module.weight.shape[2:])
        return _kronecker(left, right, scale, module.weight.dtype)
    if shape.kind == "lokr":
        left, right = _kronecker_factors(parts)
        delta = torch.kron(left, right.flatten(1)) * scale
        return _decomposed_dense(delta, magnitude, module)
    if shape.kind == "loha":
        (down_1, up_1), (down_2, up_2) = (_hadamard_factors(parts, side) for side in ("1", "2"))
        if len(down_1) * len(down_2) > MAX_KHATRI_RAO_RANK:
            delta = (up_1 @ down_1) * (up_2 @ down_2) * scale
            return _decomposed_dense(delta, magnitude, module)
        down, up = _khatri_rao(down_1, down_2), _khatri_rao(up_1.T, up_2.T).T
    else:
        down, up = _low_rank_factors(parts)
    if magnitude is None:
        return _low_rank(down, up, scale, None, module)
    if len(magnitude) == 1:
        return _decomposed_dense(up @ down * scale, magnitude, module)
    gain = magnitude / _row_norms(module.weight.flatten(1) + up @ down * scale)
    return _low_rank(down, up * gain, scale, gain[:, 0] - 1, module)


def _low_rank_factors(parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
    """(r, columns) and (out, r); a middle convolution is folded into the first factor."""
    down, up = parts["down"], parts["up"].flatten(1)
    if "mid" in parts:
        down = torch.einsum("mnkl,ni->mikl", parts["mid"], down.flatten(1))
    return down.flatten(1), up


def _khatri_rao(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(r1, n) and (r2, n) -> (r1 * r2, n), every row of the one times every row of the other.

    A Hadamard product (arXiv 2108.06098) is a product of such factors: entry (o, i) of
    (A1 B1) * (A2 B2) is the sum over p and q of A1[o, p] A2[o, q] B1[p, i] B2[q, i].
    """
    return torch.einsum("pi,qi->pqi", first, second).flatten(0, 1)


def _hadamard_factors(parts: Parts, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(r, columns) and (out, r) of one half; a core tensor is folded into the first."""
    a, b = parts[f"hada_w{side}_a"], parts[f"hada_w{side}_b"]
    core = parts.get(f"hada_t{side}")
    if core is None:
        return b, a
    return torch.einsum("ijkl,jr->irkl", core, b).flatten(1), a.T


def _kronecker_factors(parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
    """(a, b) and (c, d) or (c, d, kh, kw)."""
    left = parts.get("lokr_w1")
    if left is None:
        left = parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if "lokr_w2" in parts:
        return left, parts["lokr_w2"]
    a, b = parts["lokr_w2_a"], parts["lokr_w2_b"]
    if "lokr_t2" in parts:
        return left, torch.einsum("ijkl,jr,ip->prkl", parts["lokr_t2"], b, a)
    return left, torch.tensordot(a, b, dims=1)


def _magnitude(parts: Parts, weight: torch.Tensor) -> torch.Tensor | None:
    """(out, 1) where a DoRA normalises rows of the weight, (1, in) where columns; None without."""
    if "magnitude" in parts:
        return parts["magnitude"].reshape(-1, 1)
    if "dora_scale" not in parts:
        return None
    scale = parts["dora_scale"]
    if scale.numel() == len(weight) and scale.dim() > 0 and len(scale) == len(weight):
        return scale.reshape(-1, 1)
    if scale.numel() == weight.shape[1]:  # LyCORIS up to 2.x normalised input channels
        return scale.reshape(1, -1)
    raise ValueError(f"dora_scale has shape {tuple(scale.shape)}")


def _decomposed_dense(
    delta: torch.Tensor, magnitude: torch.Tensor | None, module: nn.Linear | nn.Conv2d
) -> Dense:
    """(out, columns) -> the dense update, with the DoRA's rescaling of the base weight in it."""
    weight = module.weight
    delta = delta.reshape(weight.shape)
    if magnitude is not None:
        merged = weight + delta
        if len(magnitude) == 1:
            norms = _row_norms(merged.transpose(0, 1).flatten(1)).T
        else:
            norms = _row_norms(merged.flatten(1))
        factor = (magnitude / norms).reshape(*norms.shape, *[1] * (weight.dim() - 2))
        delta = merged * factor - weight
    values, scale = in_range(delta, weight.dtype)
    return Dense(values, scale)


def _row_norms(matrix: torch.Tensor) -> torch.Tensor:
    """(n, m) -> (n, 1), never zero: a row of zeros stays one whatever it is divided by."""
    norms = matrix.norm(dim=1, keepdim=True)
    return torch.where(norms == 0, 1.0, norms)


def _low_rank(
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
    gain: torch.Tensor | None,
    module: nn.Linear | nn.Conv2d,
) -> LowRank:
    dtype = module.weight.dtype
    if isinstance(module, nn.Conv2d):
        down = down.reshape(-1, *module.weight.shape[1:]).permute(0, 2, 3, 1).flatten(1)
    down, down_scale = in_range(down, dtype)
    # What of a scaled `up` float16 cannot hold is lost in the rounding of the output anyway.
    up = (up.T * (scale * down_scale)).to(dtype)
    return LowRank(torch.cat([down, up], dim=1), None if gain is None else gain.to(dtype))


def _kronecker(
    left: torch.Tensor, right: torch.Tensor, scale: float, dtype: torch.dtype
) -> Kronecker:
    left, left_scale = in_range(left, dtype)
    right, right_scale = in_range(right, dtype)
    return Kronecker(left, right, scale * left_scale * right_scale)
