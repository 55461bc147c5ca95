"""Shapes of one module's factors: is the set complete, what rank has it, what weight does it fit?

Torch-free, so that a LoRA is judged from the header of its file. Layouts are those of LyCORIS
(arXiv 2309.14859), which kohya, diffusers and peft share where they overlap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["lora", "loha", "lokr"]
Shape = tuple[int, ...]

_Factors = tuple[int | None, int, int, bool]  # as in `UpdateShape`
_MODIFIERS = {"alpha", "dora_scale", "magnitude"}


@dataclass(frozen=True, slots=True)
class UpdateShape:
    """What the factors of one module amount to.

    Attributes:
        kind: how they combine: up @ down, Hadamard or Kronecker product.
        rank: what alpha is divided by; None for a Kronecker product of two full matrices.
        rows: output channels of the update.
        columns: input channels times kernel area.
        is_convolution: whether the factors carry a kernel larger than one cell.
        has_magnitude: whether the update is weight-decomposed (DoRA, arXiv 2402.09353).
    """

    kind: Kind
    rank: int | None
    rows: int
    columns: int
    is_convolution: bool
    has_magnitude: bool


def update_shape(shapes: Mapping[str, Shape]) -> UpdateShape:
    """Judges the parts of one module by their shapes.

    Args:
        shapes: by part name, see `lora_keys`.

    Raises:
        ValueError: a part is missing, has no place beside the others or has a wrong shape.
    """
    parts = set(shapes) - _MODIFIERS
    prefixes = {part.partition("_")[0] for part in parts}
    if prefixes <= {"down", "up", "mid"}:
        kind: Kind = "lora"
        factors: _Factors = _low_rank(shapes, parts)
    elif prefixes == {"hada"}:
        kind = "loha"
        factors = _hadamard(shapes, parts)
    elif prefixes == {"lokr"}:
        kind = "lokr"
        factors = _kronecker(shapes, parts)
    else:
        raise ValueError(f"the parts {', '.join(sorted(parts))} do not belong together")
    rank, rows, columns, is_convolution = factors
    if rank == 0 or rows == 0 or columns == 0:
        raise ValueError("an empty factor")
    _check_magnitude(shapes, rows)
    has_magnitude = not {"dora_scale", "magnitude"}.isdisjoint(shapes)
    return UpdateShape(kind, rank, rows, columns, is_convolution, has_magnitude)


def _check_magnitude(shapes: Mapping[str, Shape], rows: int) -> None:
    if {"dora_scale", "magnitude"} <= set(shapes):
        raise ValueError("two magnitudes")
    if "magnitude" in shapes and math.prod(shapes["magnitude"]) != rows:
        raise ValueError(f"lora_magnitude_vector has shape {shapes['magnitude']}")


def _low_rank(shapes: Mapping[str, Shape], parts: set[str]) -> _Factors:
    _require(parts, {"down", "up"}, optional={"mid"})
    down, up = shapes["down"], shapes["up"]
    if len(down) not in (2, 4) or len(up) not in (2, 4) or math.prod(up[2:]) != 1:
        raise ValueError(f"down {down} and up {up} are no factors")
    kernel = down[2:]
    inner = down[0]
    if "mid" in parts:
        mid = shapes["mid"]
        if len(mid) != 4 or mid[1] != down[0] or math.prod(kernel) != 1:
            raise ValueError(f"mid {mid} does not fit down {down}")
        inner, kernel = mid[0], mid[2:]
    if up[1] != inner:
        raise ValueError(f"up {up} does not fit down {down}")
    area = math.prod(kernel)
    return down[0], up[0], down[1] * area, area > 1


def _hadamard(shapes: Mapping[str, Shape], parts: set[str]) -> _Factors:
    names = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}
    _require(parts, names, optional={"hada_t1", "hada_t2"})
    if len(parts & {"hada_t1", "hada_t2"}) == 1:
        raise ValueError("only one of hada_t1 and hada_t2")
    sides = [_hadamard_side(shapes, side) for side in ("1", "2")]
    if sides[0][1:] != sides[1][1:]:
        raise ValueError("the two halves of the Hadamard product differ in shape")
    return sides[0]


def _hadamard_side(shapes: Mapping[str, Shape], side: str) -> _Factors:
    a, b = shapes[f"hada_w{side}_a"], shapes[f"hada_w{side}_b"]
    core = shapes.get(f"hada_t{side}")
    if len(a) != 2 or len(b) != 2:
        raise ValueError(f"hada_w{side}_a {a} and hada_w{side}_b {b} are no matrices")
    if core is None:
        if a[1] != b[0]:
            raise ValueError(f"hada_w{side}_a {a} does not fit hada_w{side}_b {b}")
        return b[0], a[0], b[1], False
    if len(core) != 4 or core[:2] != (a[0], b[0]):
        raise ValueError(f"hada_t{side} {core} does not fit {a} and {b}")
    area = math.prod(core[2:])
    return b[0], a[1], b[1] * area, area > 1


def _kronecker(shapes: Mapping[str, Shape], parts: set[str]) -> _Factors:
    left = _choose(parts, "lokr_w1")
    right = _choose(parts, "lokr_w2")
    _require(parts, left | right, optional={"lokr_t2"} if "lokr_w2_a" in right else set())
    rank: int | None = None
    if "lokr_w1" in left:
        a_b = shapes["lokr_w1"]
    else:
        rank, a_b = _product(shapes, "lokr_w1")
    if len(a_b) != 2:
        raise ValueError(f"lokr_w1 {a_b} is no matrix")
    if "lokr_w2" in right:
        c_d = shapes["lokr_w2"]
    elif "lokr_t2" in parts:
        core, a, b = shapes["lokr_t2"], shapes["lokr_w2_a"], shapes["lokr_w2_b"]
        if len(core) != 4 or len(a) != 2 or len(b) != 2 or core[:2] != (a[0], b[0]):
            raise ValueError(f"lokr_t2 {core} does not fit {a} and {b}")
        rank, c_d = b[0], (a[1], b[1], *core[2:])
    else:
        rank, c_d = _product(shapes, "lokr_w2")
    if len(c_d) not in (2, 4):
        raise ValueError(f"lokr_w2 {c_d} is no weight")
    area = math.prod(c_d[2:])
    return rank, a_b[0] * c_d[0], a_b[1] * c_d[1] * area, area > 1


def _choose(parts: set[str], name: str) -> set[str]:
    """A full factor, or the two it is the product of."""
    return {name} if name in parts else {f"{name}_a", f"{name}_b"}


def _product(shapes: Mapping[str, Shape], name: str) -> tuple[int, Shape]:
    if not {f"{name}_a", f"{name}_b"} <= set(shapes):
        raise ValueError(f"{name} is missing")
    a, b = shapes[f"{name}_a"], shapes[f"{name}_b"]
    if len(a) != 2 or len(b) not in (2, 4) or a[1] != b[0]:
        raise ValueError(f"{name}_a {a} does not fit {name}_b {b}")
    return b[0], (a[0], *b[1:])


def _require(parts: set[str], needed: set[str], *, optional: set[str]) -> None:
    if missing := sorted(needed - parts):
        raise ValueError(f"{missing[0]} is missing")
    if surplus := sorted(parts - needed - optional):
        raise ValueError(f"{surplus[0]} has no place beside {', '.join(sorted(needed))}")
