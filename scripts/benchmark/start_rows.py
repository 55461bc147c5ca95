"""Row 17: how long a start takes, beside a script that imports and loads the same folder."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from scripts.benchmark.bench import Bench
from scripts.benchmark.pairs import alternate, timed
from scripts.benchmark.row import Limit, Measure, Row, ratio_measure
from scripts.benchmark.server import Server
from scripts.benchmark.shapes import MODELS_FILE
from scripts.benchmark.workload import Request, request_of

_SMALLEST_PX, _STEPS = 64, 6
# What anyone would write: import, load, paint one small picture.
_BARE_SCRIPT = """
import sys
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
pipeline = StableDiffusionInpaintPipeline.from_pretrained(sys.argv[1], local_files_only=True)
side = int(sys.argv[2])
pipeline(
    prompt="blue sky",
    image=Image.new("RGB", (side, side)),
    mask_image=Image.new("L", (side, side), 255),
    width=side,
    height=side,
    num_inference_steps=int(sys.argv[3]),
)
"""


def start(bench: Bench) -> Sequence[Measure]:
    """Row 17: ready means that the first picture, of the smallest size, is there."""
    request = request_of(bench.shape("M").at(_SMALLEST_PX), num_steps=_STEPS)
    pairs = alternate(
        lambda: _first_picture_s(bench, request),
        timed(lambda: _bare(bench)),
        rounds=max(1, bench.sizes.few_rounds - 2),
        warmups=1,  # files come from the disk's cache in both
    )
    note = (
        f"from the start of `backdrop serve` to its first picture ({_SMALLEST_PX} px, {_STEPS} "
        "steps), submitted as soon as it listens; the script imports, loads and paints as much"
    )
    return [
        ratio_measure("process start to ready / bare script", pairs, Limit(1.15, 1.03), note=note)
    ]


def _first_picture_s(bench: Bench, request: Request) -> float:
    models_file = bench.model_folder("M").parent / MODELS_FILE
    started = time.perf_counter()
    server = Server(bench.scratch("start"), models_file, BACKDROP_WARM_SPARE="false")
    try:
        client = server.client()
        client.generate(client.generate_body(request))
        took = time.perf_counter() - started
        client.close()
        return took
    finally:
        server.kill()


def _bare(bench: Bench) -> None:
    subprocess.run(
        [
            sys.executable,
            "-c",
            _BARE_SCRIPT,
            str(bench.model_folder("M")),
            str(_SMALLEST_PX),
            str(_STEPS),
        ],
        check=True,
        capture_output=True,
    )


ROWS = (Row(17, "start", start, "M"),)
