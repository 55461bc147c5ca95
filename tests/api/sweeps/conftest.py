"""A planned sweep whose pictures are drawn, not painted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.media import encode_png
from api.sweeps.folder import PaintedPoint, SweepFolder
from engine.job import GenerationJob
from engine.registry import Registry, load_registry
from engine.sweep import Axis, SweepPlan, plan_sweep

SIDE_PX = 96


@pytest.fixture(scope="session")
def registry(root: Path) -> Registry:
    return load_registry(root / "models.yaml")


@pytest.fixture
def make_plan(registry: Registry) -> Callable[..., SweepPlan]:
    """A plan over these axes: a square product of 32 pixels, a plain blue reference."""

    def make(*axes: Axis, prompt: str = "blue sky") -> SweepPlan:
        foreground = Image.new("RGBA", (SIDE_PX, SIDE_PX))
        foreground.paste((200, 30, 40, 255), (32, 32, 64, 64))
        job = GenerationJob(
            "sweep",
            registry.default_model,
            foreground,
            prompt=prompt,
            reference=Image.new("RGB", (SIDE_PX, SIDE_PX), (40, 90, 200)),
            strength=0.5,
        )
        return plan_sweep(job, axes, registry)

    return make


def drawn(plan: SweepPlan, path: Path, *, without: tuple[int, ...] = ()) -> dict[int, PaintedPoint]:
    """Plain pictures, each point's a little lighter than that before."""
    (path / "images").mkdir(parents=True)
    folder = SweepFolder(path)
    painted = {}
    for point in plan.points:
        if point.index in without:
            continue
        pixels = np.full((SIDE_PX, SIDE_PX, 3), 10 + 20 * point.index, np.uint8)
        png = encode_png(Image.fromarray(pixels), icc_profile=None, parameters=None)
        painted[point.index] = folder.add(
            point.index, png, seed=7, seconds=0.5, parameters={"prompt": plan.job.prompt}
        )
    return painted
