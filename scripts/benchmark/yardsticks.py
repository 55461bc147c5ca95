"""B0 and B1: the same work by diffusers' own inpaint pipeline, called in a loop."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from scripts.benchmark.workload import Request

for library in (diffusers, transformers):
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()


def load_pipeline(
    model_folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Any:
    """The pipeline as diffusers' own pages say."""
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        model_folder, local_files_only=True, dtype=dtype
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


@dataclass(slots=True)
class Yardstick:
    """A pipeline of one model that paints what our own requests ask for.

    Attributes:
        pipeline: diffusers' own.
    """

    pipeline: Any

    def b0(self, request: Request) -> Image.Image:
        """Pictures in, picture out; the mask is painted where the foreground is transparent."""
        return self._paint(request, request.foreground)

    def b1(self, request: Request) -> bytes:
        """B0 between the decoding of the upload and the encoding of the result by Pillow."""
        with Image.open(BytesIO(request.png)) as foreground:
            painted = self._paint(request, foreground)
        file = BytesIO()
        painted.save(file, "PNG")
        return file.getvalue()

    def _paint(self, request: Request, foreground: Image.Image) -> Image.Image:
        return self.pipeline(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            image=foreground.convert("RGB"),
            mask_image=mask_of(foreground),
            width=request.side_px,
            height=request.side_px,
            num_inference_steps=request.num_steps,
            guidance_scale=request.guidance_scale,
            strength=1.0,
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]


def mask_of(foreground: Image.Image) -> Image.Image:
    """White where the pipeline is to paint: wherever `foreground` (RGBA) is not opaque."""
    return foreground.getchannel("A").point(lambda alpha: 0 if alpha == 255 else 255)
