"""Encoded pictures and their captions in memory, in batches of one size."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.train_embedded.dataset import SceneRecord, read_shard
from scripts.train_embedded.words import caption


@dataclass(frozen=True, slots=True, eq=False)
class LatentBatch:
    """A training batch.

    Attributes:
        image_latents: (B, 4, h, w) float32, scaled.
        masked_image_latents: (B, 4, h, w) float32, scaled.
        repaint_mask: (B, 1, h, w) float32, 1 = repaint.
        captions: B prompts, empty where the caption was dropped.
    """

    image_latents: torch.Tensor
    masked_image_latents: torch.Tensor
    repaint_mask: torch.Tensor
    captions: list[str]


class LatentData:
    """All latents of a work folder.

    Attributes:
        scaling_factor: 1 / standard deviation of the raw latents.
        records: of every picture, for captions.
    """

    def __init__(self, work: Path, *, scaling_factor: float | None = None) -> None:
        by_size: dict[tuple[int, ...], list[Path]] = defaultdict(list)
        for path in sorted((work / "latents").glob("*.npz")):
            with np.load(path) as arrays:
                by_size[arrays["image_latents"].shape[2:]].append(path)
        self._groups = [_Group(work, paths) for paths in by_size.values()]
        self.records = [record for group in self._groups for record in group.records]
        counts = np.array([len(group.records) for group in self._groups], float)
        self._shares = counts / counts.sum()
        if scaling_factor is None:
            scaling_factor = 1 / float(
                np.std(self._groups[0].image_latents[:2000], dtype=np.float32)
            )
        self.scaling_factor = scaling_factor

    def batch(self, rng: np.random.Generator, batch_size: int, *, dropout: float) -> LatentBatch:
        """A random batch of one size; mirrored pictures are as true as their originals.

        Args:
            rng: draws everything.
            batch_size: of pictures of 256x256; larger ones come fewer at a time.
            dropout: share of captions left out, for classifier-free guidance.
        """
        group = self._groups[rng.choice(len(self._groups), p=self._shares)]
        height, width = group.repaint_mask.shape[1:]
        size = max(1, round(batch_size * 1024 / (height * width)))
        picked = rng.integers(len(group.records), size=size)
        flip = rng.random() < 0.5
        captions = [
            "" if rng.random() < dropout else _caption(rng, group.records[index], flip)
            for index in picked
        ]
        return LatentBatch(
            self._tensor(group.image_latents[picked], flip) * self.scaling_factor,
            self._tensor(group.masked_image_latents[picked], flip) * self.scaling_factor,
            self._tensor(group.repaint_mask[picked][:, None], flip),
            captions,
        )

    @staticmethod
    def _tensor(array: NDArray[np.float16] | NDArray[np.uint8], flip: bool) -> torch.Tensor:
        tensor = torch.from_numpy(array.astype(np.float32))
        return tensor.flip(-1) if flip else tensor


class _Group:
    """Pictures of one size."""

    def __init__(self, work: Path, paths: list[Path]) -> None:
        parts: dict[str, list[np.ndarray]] = defaultdict(list)
        self.records: list[SceneRecord] = []
        for path in paths:
            with np.load(path) as arrays:
                for name in ("image_latents", "masked_image_latents", "repaint_mask"):
                    parts[name].append(arrays[name])
            self.records += read_shard(work / "scenes" / f"{path.stem}.json").records
        self.image_latents = np.concatenate(parts["image_latents"])
        self.masked_image_latents = np.concatenate(parts["masked_image_latents"])
        self.repaint_mask = np.concatenate(parts["repaint_mask"])


def _caption(rng: np.random.Generator, record: SceneRecord, flip: bool) -> str:
    text = caption(rng, record.phrases, record.time_of_day)
    if not flip:
        return text
    other = {"left": "right", "right": "left"}
    return re.sub(r"\b(left|right)\b", lambda side: other[side[0]], text)
