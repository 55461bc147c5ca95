"""What clients ask for: a few variants, so that a calm run tells the picture of each."""

from __future__ import annotations

import base64
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

KEYS = {"alice": "alice-private", "bob": "bob-private"}
SIDE_PX, NUM_STEPS, NUM_VARIANTS = 64, 6, 16
_SCENES = ("blue sky, white clouds", "a wooden table", "snow, mountains", "a city at night")


def owner_of(number: int) -> str:
    """Public key of order `number`. No variant is ordered by both keys."""
    return sorted(KEYS)[number % len(KEYS)]


def variant_of(number: int) -> int:
    """Which of the variants order `number` is, 0..NUM_VARIANTS - 1."""
    return number % NUM_VARIANTS


def order(variant: int) -> dict[str, Any]:
    """The fields of GenerateBackgrounds: every variant has its own seed, prompt and cut-out."""
    return {
        "ImageList": [_cut_out(variant)],
        "MainModel": {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": NUM_STEPS}},
        "PositivePrompts": [_SCENES[variant % len(_SCENES)]],
        "TranslatePrompts": False,
        "TransparentForeground": {"ImageIndex": 0},
        "Seed": 1000 + variant,
    }


@cache
def _cut_out(variant: int) -> str:
    image = Image.new("RGBA", (SIDE_PX, SIDE_PX), (200, 40 + 10 * variant, 60, 0))
    left = 4 + variant
    fill = (200, 40 + 10 * variant, 60, 255)
    ImageDraw.Draw(image).ellipse((left, 20, left + 28, 56), fill=fill)
    file = BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
