"""Contact sheets of rendered scenes: `python -m scripts.train_embedded.sheet sky sea -o out.png`."""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.train_embedded.canvas import canvas


def main() -> None:
    """Draws a row of each named scene function (`module:function`) and prints captions and time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="+", help="module:function, e.g. skies:sky")
    parser.add_argument("-n", type=int, default=8, help="pictures of each")
    parser.add_argument("-s", "--seed", type=int, default=0)
    parser.add_argument("--size", default="256x256", help="of the reduced picture")
    parser.add_argument("-o", "--output", type=Path, default=Path("sheet.png"))
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    rows = []
    for spec in options.scenes:
        module, function = spec.split(":")
        draw = getattr(importlib.import_module(f"scripts.train_embedded.{module}"), function)
        tiles, started = [], time.perf_counter()
        for seed in range(options.seed, options.seed + options.n):
            scene = draw(canvas(width * 3 // 2, height * 3 // 2), np.random.default_rng(seed))
            pixels = (np.clip(scene.image, 0, 1) * 255 + 0.5).astype(np.uint8)
            image = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
            tiles.append(np.asarray(image))
            print(seed, scene.kind, scene.phrases, scene.colors, scene.light.time_of_day)
        print(f"{spec}: {(time.perf_counter() - started) / options.n:.3f} s a picture")
        rows.append(np.concatenate(tiles, axis=1))
    Image.fromarray(np.concatenate(rows)).save(options.output)


if __name__ == "__main__":
    main()
