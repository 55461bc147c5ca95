"""Contact sheet of all product shapes: `python -m scripts.train_embedded.product_sheet -o out.png`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.train_embedded.canvas import canvas, mix
from scripts.train_embedded.light import indoor
from scripts.train_embedded.products import SHAPES, build, draw


def main() -> None:
    """Draws every shape over a checkerboard and prints the names row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", help="all by default")
    parser.add_argument("-n", type=int, default=1, help="pictures of each")
    parser.add_argument("-s", "--seed", type=int, default=0)
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--size", type=int, default=144, help="of a tile in pixels")
    parser.add_argument("-o", "--output", type=Path, default=Path("products.png"))
    options = parser.parse_args()
    names = [name for name in options.shapes or SHAPES for _ in range(options.n)]
    c = canvas(options.size * 3 // 2, options.size * 3 // 2)
    squares = (np.floor(c.x * 12) + np.floor(c.y * 12)) % 2 * 0.12 + 0.62
    board = np.repeat(squares[..., None], 3, axis=2).astype(np.float32)
    tiles, slowest = [], (0.0, "")
    for k, name in enumerate(names):
        rng = np.random.default_rng((options.seed, k))
        started = time.perf_counter()
        model = build(rng, name)
        height = min(0.86, 0.9 / model.aspect)
        product = draw(c, model, indoor(rng), center_x=0.5, foot_y=0.95, height=height)
        slowest = max(slowest, (time.perf_counter() - started, name))
        pixels = (mix(board, product.color, product.alpha) * 255 + 0.5).astype(np.uint8)
        side = (options.size, options.size)
        tiles.append(np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.LANCZOS)))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % options.columns)
    rows = [tiles[k : k + options.columns] for k in range(0, len(tiles), options.columns)]
    for k in range(0, len(names), options.columns):
        print(" | ".join(names[k : k + options.columns]))
    print(f"{len(SHAPES)} shapes; slowest: {slowest[1]}, {slowest[0]:.3f} s")
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(sheet).save(options.output)


if __name__ == "__main__":
    main()
