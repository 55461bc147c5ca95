"""Rendered scenes on disk: shards of one picture size, memory-mapped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SceneRecord:
    """Words and labels of one picture.

    Attributes:
        seed: of the scene.
        kind: key of KINDS in scenes.py.
        phrases: the main phrase first, then details.
        time_of_day: outdoors; None elsewhere.
        colors: (part, colour name) pairs.
        product: name of the product's shape; None where there is none.
    """

    seed: int
    kind: str
    phrases: tuple[str, ...]
    time_of_day: str | None
    colors: tuple[tuple[str, str], ...]
    product: str | None


@dataclass(frozen=True, slots=True, eq=False)
class SceneShard:
    """Pictures of one size.

    Attributes:
        images: (N, H, W, 3) uint8, scene with product, shadow and reflection.
        alphas: (N, H, W) uint8, of the product alone; all 0 where there is none.
        records: N labels.
    """

    images: NDArray[np.uint8]
    alphas: NDArray[np.uint8]
    records: list[SceneRecord]


def write_shard(folder: Path, name: str, shard: SceneShard) -> None:
    """Writes `name` under `folder`; the records come last, so a broken run leaves no half shard."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}-images.npy", shard.images)
    np.save(folder / f"{name}-alphas.npy", shard.alphas)
    records = json.dumps([asdict(record) for record in shard.records])
    partial = folder / f"{name}.json.partial"
    partial.write_text(records)
    partial.rename(folder / f"{name}.json")


def read_shard(path: Path) -> SceneShard:
    """The shard whose records file is `path`."""
    records = [
        SceneRecord(
            **record
            | {
                "phrases": tuple(record["phrases"]),
                "colors": tuple((part, color) for part, color in record["colors"]),
            }
        )
        for record in json.loads(path.read_text())
    ]
    stem = path.with_suffix("")
    return SceneShard(
        images=np.load(f"{stem}-images.npy", mmap_mode="r"),
        alphas=np.load(f"{stem}-alphas.npy", mmap_mode="r"),
        records=records,
    )


def read_shards(folder: Path) -> list[SceneShard]:
    """All complete shards of a folder, by name."""
    return [read_shard(path) for path in sorted(folder.glob("*.json"))]
