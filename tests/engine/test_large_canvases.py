"""Canvases far above the native area: refined by tiles that leave no trace, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import UNet2DConditionModel
from PIL import Image

from engine.checkpoint import Checkpoint
from engine.engine import Engine
from engine.job import GenerationJob
from engine.plan import plan_job
from engine.registry import Registry
from engine.tiles import cover
from tests.engine.runs import array, assert_same_image, drain, embedded, images
from tests.engine.tiny import EPSILON, V_ZERO_SNR, write_registry, write_tiny_model, write_tiny_sdxl

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20
# Of one image at 2560x2560 on the embedded model, libraries and weights not counted.
MAX_BYTES_2560 = 1536 * MIB


def changed(registry: Registry, name: str, **fields: Any) -> Registry:
    model = registry.main_model(name).model_copy(update=fields)
    return Registry({name: model}, name)


def loaded_unet(engine: Engine, name: str) -> UNet2DConditionModel:
    checkpoint = engine._models.get(engine.registry.main_model(name))
    assert isinstance(checkpoint, Checkpoint)
    return checkpoint.unet


@pytest.fixture(scope="module")
def tiled_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiled")
    write_tiny_model(root / "nine", in_channels=9, scheduler=V_ZERO_SNR)
    write_tiny_model(root / "four", in_channels=4, scheduler=EPSILON)
    write_tiny_sdxl(root / "sdxl", in_channels=9, scheduler=V_ZERO_SNR)
    return root


@pytest.fixture(scope="module")
def tiled_registry(tiled_root: Path) -> Registry:
    """Of 64 native pixels, so that little is large."""
    entry = {"native_size_px": 64, "tile_size_px": 64}
    return write_registry(tiled_root, nine=entry, four=entry, sdxl=entry | {"family": "sdxl"})


@pytest.mark.parametrize("name", ["nine", "four", "sdxl"])
def test_every_kind_of_checkpoint_refines_by_tiles(
    tiled_registry: Registry, job: GenerationJob, name: str
) -> None:
    job = replace(job, model_name=name, width_px=200, height_px=120)
    refining = plan_job(job, tiled_registry).passes[1]
    assert refining.tile_px == (64, 64)
    (image,) = Engine(tiled_registry).generate(job)
    assert image.image.size == (200, 120)


def test_a_tiled_image_does_not_depend_on_its_neighbours(
    tiled_registry: Registry, job: GenerationJob
) -> None:
    large = replace(job, job_id="large", width_px=200, height_px=120)
    # Its only pass has the size of a tile, so that it shares the forwards of both passes.
    small = replace(job, job_id="small", width_px=64, height_px=64, num_inference_steps=12)
    engine = Engine(tiled_registry)
    alone = {each.job_id: engine.generate(each)[0] for each in (large, small)}
    engine.add(large)
    engine.add(small)
    events = drain(engine)
    for job_id, image in alone.items():
        assert_same_image(images(events, job_id)[0], image)


def test_tiles_differ_from_the_whole_by_what_they_see_alone(
    tiled_registry: Registry, job: GenerationJob
) -> None:
    # A UNet that looks at each cell by itself cannot tell a tile from the whole canvas.
    job = replace(job, width_px=200, height_px=120)
    results = []
    for tile_size_px in (64, 2560):
        engine = Engine(changed(tiled_registry, "nine", tile_size_px=tile_size_px))
        unet: Any = loaded_unet(engine, "nine")
        unet.forward = lambda sample, *_, **__: (0.4 * sample[:, :4] + 0.1 * sample[:, 4:5],)
        results.append(array(engine.generate(job)[0]))
    assert np.abs(results[0] - results[1]).max() <= 1


def test_sdxl_is_told_which_part_of_the_canvas_a_tile_is(
    tiled_registry: Registry, job: GenerationJob
) -> None:
    engine = Engine(tiled_registry)
    unet: Any = loaded_unet(engine, "sdxl")
    forward = unet.forward
    told: set[tuple[int, ...]] = set()

    def noting(*args: Any, **kwargs: Any) -> Any:
        rows = kwargs["added_cond_kwargs"]["time_ids"].tolist()
        told.update(tuple(map(int, row)) for row in rows)
        return forward(*args, **kwargs)

    unet.forward = noting
    engine.generate(replace(job, model_name="sdxl", width_px=112, height_px=112))
    whole = {(64, 64, 0, 0, 64, 64)}
    corners = {(112, 112, top, left, 64, 64) for top in (0, 48) for left in (0, 48)}
    assert told == whole | corners


def test_tiles_leave_no_seam(embedded_registry: Registry, product: Image.Image) -> None:
    job = embedded(product, width_px=448, height_px=448, prompt="sandy beach, sea, clouds")
    pixels = {}
    for tile_size_px in (256, 448):
        registry = changed(embedded_registry, job.model_name, tile_size_px=tile_size_px)
        pixels[tile_size_px] = array(Engine(registry).generate(job)[0])
    assert np.abs(pixels[256] - pixels[448]).mean() > 0.1
    # A seam would be a larger step from one line to the next than the same scene has there when
    # it is painted whole.
    for axis in (0, 1):
        tiled, whole = (
            np.abs(np.diff(each, axis=axis)).mean(axis=(1 - axis, 2))[_edges(448, 256)].mean()
            for each in (pixels[256], pixels[448])
        )
        assert tiled < 1.1 * whole


def _edges(side_px: int, tile_px: int) -> list[int]:
    """Pixels before a tile's first and last line, the canvas's own edges left out."""
    tiles = cover(side_px // 8, 1, tile_px // 8, 1)
    starts = {tile.top * 8 for tile in tiles}
    ends = {(tile.top + tile.height) * 8 for tile in tiles}
    return sorted(edge - 1 for edge in starts | ends if 0 < edge < side_px)


# In a process of its own, so that its peak is the job's alone.
PROGRAM = """
import resource
from pathlib import Path
import numpy as np
from PIL import Image
from engine.engine import Engine
from engine.job import GenerationJob
from engine.registry import load_registry

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

engine = Engine(load_registry(Path("models.yaml")))
product = np.zeros((256, 256, 4), np.uint8)
product[80:200, 90:160] = (200, 60, 40, 255)
foreground = Image.fromarray(product)
job = dict(model_name=engine.registry.default_model, foreground=foreground, prompt="blue sky",
           num_inference_steps=6)
engine.generate(GenerationJob(job_id="small", width_px=256, height_px=256, **job))
before = peak()
engine.generate(GenerationJob(job_id="large", width_px=2560, height_px=2560, **job))
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_largest_canvas_stays_within_its_memory() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.split()[-1]) < MAX_BYTES_2560
