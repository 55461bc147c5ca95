"""LoRA files written from their definitions in float64, and the dense updates they stand for.

Shares no code with the engine: every kind is formed in numpy as its paper or trainer defines it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

Parts = dict[str, np.ndarray]
Made = tuple[Parts, np.ndarray]  # tensors by suffix, and the dense update in the weight's shape
Kind = Callable[[np.random.Generator, np.ndarray, int], Made]


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def write_lora(
    path: Path,
    kind: Kind,
    weights: dict[str, torch.Tensor],
    *,
    seed: int = 0,
    max_rank: int = 5,
    metadata: dict[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """Writes a file with one update a stem, ranks 1..max_rank in turn; returns the dense updates."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, torch.Tensor] = {}
    dense: dict[str, np.ndarray] = {}
    for number, (stem, weight) in enumerate(weights.items()):
        base = weight.detach().to(torch.float64).numpy()
        parts, dense[stem] = kind(rng, base, 1 + number % max_rank)
        for suffix, value in parts.items():
            tensors[stem + suffix] = torch.from_numpy(np.ascontiguousarray(value))
    save_file(tensors, path, metadata=metadata)
    return dense


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 0.3, shape)


def lora(rng: np.random.Generator, base: np.ndarray, rank: int) -> Made:
    """Linear and 1x1 layers: down, up, alpha; a convolution has the kernel in its down part."""
    down = normal(rng, rank, *base.shape[1:])
    up = normal(rng, base.shape[0], rank, *[1] * (base.ndim - 2))
    alpha = np.float64(rank / 2 + 0.25)
    product = np.zeros(base.shape)
    for index in range(rank):
        product += np.multiply.outer(up[:, index].reshape(-1), down[index])
    parts = {".lora_down.weight": down, ".lora_up.weight": up, ".alpha": np.asarray(alpha)}
    return parts, product * alpha / rank


def lora_without_alpha(rng: np.random.Generator, base: np.ndarray, rank: int) -> Made:
    parts, delta = lora(rng, base, rank)
    alpha = float(parts.pop(".alpha"))
    return parts, delta * rank / alpha


def tucker(rng: np.random.Generator, base: np.ndarray, rank: int) -> Made:
    """LoCon with a middle convolution; matrices stay plain."""
    if base.ndim == 2 or base.shape[2] == 1:
        return lora(rng, base, rank)
    down = normal(rng, rank, base.shape[1], 1, 1)
    mid = normal(rng, rank, rank, *base.shape[2:])
    up = normal(rng, base.shape[0], rank, 1, 1)
    delta = np.zeros(base.shape)
    for y in range(base.shape[2]):
        for x in range(base.shape[3]):
            delta[:, :, y, x] = up[:, :, 0, 0] @ mid[:, :, y, x] @ down[:, :, 0, 0]
    parts = {
        ".lora_down.weight": down,
        ".lora_mid.weight": mid,
        ".lora_up.weight": up,
        ".alpha": np.asarray(1.5),
    }
    return parts, delta * 1.5 / rank


def loha(rng: np.random.Generator, base: np.ndarray, rank: int) -> Made:
    rows, columns = base.shape[0], base[0].size
    a1, a2 = normal(rng, rows, rank), normal(rng, rows, rank)
    b1, b2 = normal(rng, rank, columns), normal(rng, rank, columns)
    parts = {".hada_w1_a": a1, ".hada_w1_b": b1, ".hada_w2_a": a2, ".hada_w2_b": b2}
    delta = ((a1 @ b1) * (a2 @ b2)).reshape(base.shape)
    return parts | {".alpha": np.asarray([2.0])}, delta * 2.0 / rank


def loha_tucker(rng: np.random.Generator, base: np.ndarray, rank: int) -> Made:
    if base.ndim == 2 or base.shape[2] == 1:
        return loha(rng, base, rank)
    parts: Parts = {".alpha": np.asarray(2.0)}
    delta = np.ones(base.shape)
    for side in ("1", "2"):
        core = normal(rng, rank, rank, *base.shape[2:])
        a, b = normal(rng, rank, base.shape[0]), normal(rng, rank, base.shape[1])
        parts |= {f".hada_t{side}": core, f".hada_w{side}_a": a, f".hada_w{side}_b": b}
        half = np.zeros(base.shape)
        for y in range(base.shape[2]):
            for x in range(base.shape[3]):
                half[:, :, y, x] = a.T @ core[:, :, y, x] @ b
        delta *= half
    return parts, delta * 2.0 / rank


def _factor(size: int) -> int:
    """A divisor near the root."""
    return max(n for n in range(1, int(size**0.5) + 1) if size % n == 0)


def lokr(rng: np.random.Generator, base: np.ndarray, rank: int) -> Made:
    """Full matrices on even ranks, a decomposed second one on odd ranks."""
    a, b = _factor(base.shape[0]), _factor(base.shape[1])
    c, d = base.shape[0] // a, base.shape[1] // b
    left = normal(rng, a, b)
    parts: Parts = {".lokr_w1": left, ".alpha": np.asarray(3.0)}
    if rank % 2 == 0:  # alpha has no meaning then
        right = normal(rng, c, d, *base.shape[2:])
        return parts | {".lokr_w2": right}, _kron(left, right, base.shape)
    w2_a, w2_b = normal(rng, c, rank), normal(rng, rank, d * base[0, 0].size)
    right = (w2_a @ w2_b).reshape(c, d, *base.shape[2:])
    parts |= {".lokr_w2_a": w2_a, ".lokr_w2_b": w2_b}
    return parts, _kron(left, right, base.shape) * 3.0 / rank


def lokr_tucker(rng: np.random.Generator, base: np.ndarray, rank: int) -> Made:
    """Both factors decomposed, the second one of a convolution with a core."""
    a, b = _factor(base.shape[0]), _factor(base.shape[1])
    c, d = base.shape[0] // a, base.shape[1] // b
    w1_a, w1_b = normal(rng, a, rank), normal(rng, rank, b)
    parts: Parts = {".lokr_w1_a": w1_a, ".lokr_w1_b": w1_b, ".alpha": np.asarray(1.0)}
    if base.ndim == 2 or base.shape[2] == 1:
        w2_a, w2_b = normal(rng, c, rank), normal(rng, rank, d)
        right = (w2_a @ w2_b).reshape(c, d, *base.shape[2:])
    else:
        core = normal(rng, rank, rank, *base.shape[2:])
        w2_a, w2_b = normal(rng, rank, c), normal(rng, rank, d)
        right = np.zeros((c, d, *base.shape[2:]))
        for y in range(base.shape[2]):
            for x in range(base.shape[3]):
                right[:, :, y, x] = w2_a.T @ core[:, :, y, x] @ w2_b
        parts |= {".lokr_t2": core}
    parts |= {".lokr_w2_a": w2_a, ".lokr_w2_b": w2_b}
    return parts, _kron(w1_a @ w1_b, right, base.shape) / rank


def _kron(left: np.ndarray, right: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if right.ndim == 4:
        left = left[:, :, None, None]
    return np.kron(left, right).reshape(shape)


def dora(kind: Kind, *, by_input: bool = False) -> Kind:
    """Weight decomposition over any kind: rows (or input channels) of W + delta get a given norm."""

    def make(rng: np.random.Generator, base: np.ndarray, rank: int) -> Made:
        parts, delta = kind(rng, base, rank)
        merged = base + delta
        axes = (0, *range(2, base.ndim)) if by_input else tuple(range(1, base.ndim))
        norms = np.sqrt((merged**2).sum(axis=axes, keepdims=True))
        magnitude = norms * rng.uniform(0.7, 1.4, norms.shape)
        parts = parts | {".dora_scale": magnitude}
        return parts, merged / norms * magnitude - base

    return make
