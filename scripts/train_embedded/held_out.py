"""Renders of seeds that no training sees, with and without their product, for whoever measures.

They are kept on disk, one file a picture; the folder is to be deleted when the renderer changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from scripts.train_embedded.canvas import canvas
from scripts.train_embedded.composition import place
from scripts.train_embedded.dataset import SceneRecord
from scripts.train_embedded.render import HELD_OUT_SEED, SUPERSAMPLING, draw_scene, reduce
from scripts.train_embedded.scenes import KINDS

_SEEDS_PER_KIND = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """One render.

    Attributes:
        image: (H, W, 3) uint8, scene with product, shadow and reflection.
        background: (H, W, 3) uint8, the scene alone.
        alpha: (H, W) uint8, of the product.
        record: words and labels.
        grounded: whether the product stands or lies on something, and so throws a shadow.
        upright: whether it stands; False where it lies or floats.
    """

    image: NDArray[np.uint8]
    background: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    record: SceneRecord
    grounded: bool
    upright: bool

    @property
    def foreground(self) -> Image.Image:
        """The product as a customer would cut it out: RGBA, its own colours under soft edges."""
        color = self.image
        if (self.alpha == 255).any():
            rows, columns = ndimage.distance_transform_edt(
                self.alpha < 255, return_distances=False, return_indices=True
            )
            color = self.image[rows, columns]
        return Image.fromarray(np.dstack([color, self.alpha]))

    @property
    def without_shadow(self) -> NDArray[np.uint8]:
        """The product before its background, with neither shadow nor reflection."""
        return paste(self.image, self.alpha, self.background)


def paste(
    color: NDArray[np.uint8], alpha: NDArray[np.uint8], background: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """`color` over `background` where `alpha` says so; all of the same size."""
    cover = alpha[..., None].astype(np.float32) / 255
    return np.rint(background + (color.astype(np.float32) - background) * cover).astype(np.uint8)


def draw_held_out(kind: str, index: int, width_px: int = 256, height_px: int = 256) -> HeldOut:
    """Render number `index` of a kind; it follows from these arguments alone."""
    seed = HELD_OUT_SEED + list(KINDS).index(kind) * _SEEDS_PER_KIND + index
    large = canvas(round(width_px * SUPERSAMPLING), round(height_px * SUPERSAMPLING))
    scene = draw_scene(seed, large, kind)
    composite = place(large, scene, np.random.default_rng((seed, 2)))
    return HeldOut(
        image=reduce(composite.image, width_px, height_px),
        background=reduce(scene.image, width_px, height_px),
        alpha=reduce(composite.alpha, width_px, height_px),
        record=SceneRecord(
            seed=seed,
            kind=scene.kind,
            phrases=scene.phrases,
            time_of_day=scene.light.time_of_day,
            colors=scene.colors,
            product=composite.name,
        ),
        grounded=scene.ground is not None,
        upright=scene.ground is not None and scene.ground.upright,
    )


def held_out(folder: Path, kind: str, index: int) -> HeldOut:
    """Render number `index` of a kind at 256x256, from `folder` if it is there already."""
    path = folder / f"{kind.replace(' ', '-')}-{index:05d}.npz"
    if not path.exists():
        _write(path, draw_held_out(kind, index))
    with np.load(path) as arrays:
        words = json.loads(str(arrays["words"]))
        record = words["record"]
        record["phrases"] = tuple(record["phrases"])
        record["colors"] = tuple((part, color) for part, color in record["colors"])
        return HeldOut(
            arrays["image"],
            arrays["background"],
            arrays["alpha"],
            SceneRecord(**record),
            words["grounded"],
            words["upright"],
        )


def every_kind(folder: Path, indices: range) -> Iterator[HeldOut]:
    """Those renders of every kind, the kinds taking turns."""
    for index in indices:
        for kind in KINDS:
            yield held_out(folder, kind, index)


def _write(path: Path, render: HeldOut) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    words = {
        "record": asdict(render.record),
        "grounded": render.grounded,
        "upright": render.upright,
    }
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(
        partial,
        image=render.image,
        background=render.background,
        alpha=render.alpha,
        words=np.array(json.dumps(words)),
    )
    partial.rename(path)
