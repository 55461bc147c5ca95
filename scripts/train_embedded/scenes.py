"""Every kind of scene the renderer knows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scripts.train_embedded import (
    abstracts,
    bokeh,
    cities,
    deserts,
    fabrics,
    forests,
    meadows,
    mountains,
    neon,
    nights,
    planks,
    podiums,
    seas,
    skies,
    snows,
    studios,
    tables,
    walls,
    waters,
)
from scripts.train_embedded.canvas import Canvas
from scripts.train_embedded.scene import Scene

# Keys are what `Scene.kind` says; all are drawn equally often.
KINDS: dict[str, Callable[[Canvas, np.random.Generator], Scene]] = {
    "sky": skies.sky,
    "sea": seas.sea,
    "beach": seas.beach,
    "meadow": meadows.meadow,
    "mountains": mountains.mountains,
    "desert": deserts.desert,
    "snow": snows.snow,
    "forest": forests.forest,
    "city": cities.city,
    "starry night": nights.starry_night,
    "neon": neon.neon,
    "bokeh": bokeh.bokeh,
    "studio": studios.studio,
    "spotlight": studios.spotlight,
    "podium": podiums.podium,
    "wood table": tables.wood_table,
    "marble table": tables.marble_table,
    "stone table": tables.stone_table,
    "planks": planks.planks,
    "marble": planks.marble,
    "terrazzo": planks.terrazzo,
    "brick wall": walls.brick,
    "concrete wall": walls.concrete,
    "plaster wall": walls.plaster,
    "tile wall": walls.tiles,
    "linen": fabrics.linen,
    "silk": fabrics.silk,
    "water": waters.water,
    "abstract": abstracts.abstract,
}
