"""Row 18: the PNG file of a 2560x2560 result, ours and Pillow's default."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from statistics import median

from PIL import Image, ImageOps

from api.media import encode_png
from engine.engine import Engine
from engine.job import GenerationJob
from engine.registry import load_registry
from scripts.benchmark.bench import Bench
from scripts.benchmark.pairs import alternate, timed
from scripts.benchmark.row import Limit, Measure, ratio_measure

SIDE_PX = 2560
TIME_LIMIT = Limit(must=0.3, aim=0.12)
# A file may be the larger for being written that fast.
MAX_SIZE, MAX_SIZE_WHEN_FAST = 1.25, 1.35
_ROOT = Path(__file__).resolve().parents[2]


def png(bench: Bench) -> Sequence[Measure]:
    """On what the embedded model paints on a large canvas."""
    image = large_result()
    file = BytesIO()
    image.save(file, "PNG")
    ours = encode_png(image, icc_profile=None, parameters={"seed": 0})
    pairs = alternate(
        timed(lambda: encode_png(image, icc_profile=None, parameters={"seed": 0})),
        timed(lambda: image.save(BytesIO(), "PNG")),
        rounds=bench.sizes.few_rounds,
    )
    max_size = MAX_SIZE_WHEN_FAST if pairs.ratio <= TIME_LIMIT.aim else MAX_SIZE
    return [
        ratio_measure("PNG encoding time / Pillow's default", pairs, TIME_LIMIT),
        Measure(
            "PNG file size / Pillow's default",
            len(ours) / file.tell(),
            limit=Limit(must=max_size, aim=max_size),
        ),
        Measure("PNG encoding time", 1e3 * median(pairs.a), "ms"),
        Measure("PNG file size", len(ours) / 1e6, "MB"),
    ]


def large_result() -> Image.Image:
    """The coffee cup of the examples on a wooden table, RGB, in four mirrored quarters.

    A quarter takes a quarter of the time to paint, and a compressor finds nothing of one quarter
    in another: their rows run backwards.
    """
    registry = load_registry(_ROOT / "models.yaml")
    with Image.open(_ROOT / "examples" / "coffee-cup.png") as file:
        foreground = file.convert("RGBA")
    job = GenerationJob(
        job_id="large",
        model_name=registry.default_model,
        foreground=foreground,
        prompt="a wooden table, blurred room",
        seed=1,
        width_px=SIDE_PX // 2,
        height_px=SIDE_PX // 2,
        num_inference_steps=6,
    )
    (result,) = Engine(registry).generate(job)
    right = ImageOps.mirror(result.image)
    picture = Image.new("RGB", (SIDE_PX, SIDE_PX))
    for top, turned in ((0, False), (SIDE_PX // 2, True)):
        for left, quarter in ((0, result.image), (SIDE_PX // 2, right)):
            picture.paste(ImageOps.flip(quarter) if turned else quarter, (left, top))
    return picture
