"""Checkpoints of the published sizes load and run, within the memory they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.engine.full_shape import write_random_weights

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30

# In a process of its own, so that its peak is the model's alone.
PROGRAM = """
import resource, sys
from pathlib import Path
import torch
from PIL import Image
from engine.engine import Engine
from engine.events import ImageFailed, StepDone
from engine.job import GenerationJob
from engine.registry import load_registry

engine = Engine(load_registry(Path(sys.argv[1])), dtype=getattr(torch, sys.argv[2]))
foreground = Image.new("RGBA", (64, 64), (200, 30, 30, 255))
foreground.paste((0, 0, 0, 0), (0, 0, 64, 32))
engine.add(GenerationJob(
    job_id="a", model_name="full", foreground=foreground, prompt="a red bottle",
    num_inference_steps=6,
))
steps = 0
while steps < 2:
    engine.wait()
    for event in engine.step():
        if isinstance(event, ImageFailed):
            raise event.error
        steps += isinstance(event, StepDone)
(piece,) = engine._lanes.next_pieces()
assert torch.isfinite(piece.lane.state.latents).all()
engine.cancel("a")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("family", "stored", "computed", "max_bytes"),
    [
        ("sd1", torch.float16, "float32", 10 * GIB),
        ("sdxl", torch.bfloat16, "bfloat16", 20 * GIB),
    ],
)
def test_a_checkpoint_of_full_size_runs_two_steps(
    tmp_path: Path, family: str, stored: torch.dtype, computed: str, max_bytes: int
) -> None:
    file = write_random_weights(tmp_path / "full.safetensors", family, stored)
    models = tmp_path / "models.yaml"
    models.write_text(
        "default_model: full\nmodels:\n"
        "  - {name: full, path: full.safetensors, native_size_px: 512, min_area_ratio: 0}\n"
    )
    try:
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, models, computed],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        file.unlink()
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.split()[-1]) < max_bytes
