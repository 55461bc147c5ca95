"""The work that is measured: requests that differ in seed, prompt and mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from scripts.benchmark.shapes import MODEL_NAME, Shape

_SCENES = ("blue sky, white clouds", "a wooden table", "snow, mountains", "a city at night", "")


@dataclass(frozen=True)
class Request:
    """One picture to paint.

    Attributes:
        side_px: of the square canvas, which is the foreground's size too.
        num_steps: of the sampler.
        seed: of the picture.
        prompt: what to paint.
        shift: 0..1, where in the canvas the foreground stands: it makes the mask.
        negative_prompt: what to avoid.
        guidance_scale: above 1, so that every step has two rows.
    """

    side_px: int
    num_steps: int
    seed: int = 0
    prompt: str = _SCENES[0]
    shift: float = 0.5
    negative_prompt: str = "blurry"
    guidance_scale: float = 7.5

    @cached_property
    def foreground(self) -> Image.Image:
        """RGBA: a bottle with a soft edge, a quarter of the canvas wide."""
        return _bottle(self.side_px, self.shift)

    @cached_property
    def png(self) -> bytes:
        """The foreground as it is uploaded."""
        file = BytesIO()
        self.foreground.save(file, "PNG", compress_level=1)
        return file.getvalue()

    @property
    def fields(self) -> dict[str, Any]:
        """The request as clients write it, without the images."""
        return {
            "MainModel": {
                "ModelCode": MODEL_NAME,
                "InferenceParams": {
                    "Steps": self.num_steps,
                    "CFGScale": self.guidance_scale,
                    "Sampler": "Euler",
                },
            },
            "PositivePrompts": [self.prompt] if self.prompt else [],
            "NegativePrompts": [self.negative_prompt],
            "TranslatePrompts": False,
            "TransparentForeground": {"ImageIndex": 0},
            "Seed": self.seed,
        }


def request_of(shape: Shape, index: int = 0, *, num_steps: int | None = None) -> Request:
    """The request number `index` of a shape: each has its own seed, prompt and mask."""
    return Request(
        side_px=shape.canvas_px,
        num_steps=num_steps or shape.num_steps,
        seed=1000 + index,
        prompt=f"{_SCENES[index % len(_SCENES)]}, {index}",
        shift=(0.5 + 0.37 * index) % 1.0,
    )


def _bottle(side_px: int, shift: float) -> Image.Image:
    """Drawn at four times the size of at most 256 pixels, for the soft edge."""
    small = min(side_px, 256)
    mask = Image.new("L", (4 * small, 4 * small), 0)
    left, width = int(shift * 3 * small), small
    draw = ImageDraw.Draw(mask)
    draw.rounded_rectangle((left, 1.6 * small, left + width, 3.6 * small), small // 4, fill=255)
    draw.rectangle((left + width // 3, 0.8 * small, left + 2 * width // 3, 1.7 * small), fill=255)
    shade = Image.radial_gradient("L").resize((side_px, side_px))
    color = Image.merge(
        "RGB", (shade, shade.point(lambda v: v // 2), shade.point(lambda v: v // 3))
    )
    color.putalpha(mask.resize((side_px, side_px), Image.Resampling.BICUBIC))
    return color
