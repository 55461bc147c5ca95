"""Puts products into scenes, with the shadows and reflections the model has to learn to paint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, mix
from scripts.train_embedded.products import Model, Product, build, draw
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.shadows import cast_shadow, contact_shadow, drop_shadow, reflect

_WIDEST = 0.8  # of the picture's width
_LOWEST_HEIGHT, _LARGEST_HEIGHT = 0.2, 0.75  # of its height
_NARROW = 0.3  # a ground this wide is a podium or a shelf


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """A product picture.

    Attributes:
        image: (H, W, 3) float32, sRGB in 0..1, products included.
        alpha: (H, W) of the products alone, without their shadows.
        name: of the shapes, joined by " and ".
    """

    image: Array
    alpha: Array
    name: str


def place(c: Canvas, scene: Scene, rng: np.random.Generator) -> Composite:
    """One product, seldom two or three, where the scene has room for it."""
    count = int(rng.choice((1, 2, 3), p=(0.86, 0.1, 0.04)))
    products = sorted(_arrange(c, scene, rng, count), key=lambda product: product.foot_y)
    image = scene.image
    if scene.ground is not None:
        image = _grounded(c, scene, scene.ground, products)
    image = np.array(image, np.float32)
    alpha = np.zeros((c.height_px, c.width_px), np.float32)
    for product in products:
        box = product.box
        cover = product.alpha[box]
        image[box] = mix(image[box], product.color[box], cover)
        alpha[box] += (1 - alpha[box]) * cover
    return Composite(image, alpha, " and ".join(product.name for product in products))


def _grounded(c: Canvas, scene: Scene, ground: Ground, products: list[Product]) -> Array:
    """The background with the reflections and shadows of the products."""
    image = scene.image
    light = np.ones((c.height_px, c.width_px, 3), np.float32)
    for product in products:
        if not ground.upright:
            light = np.minimum(light, drop_shadow(c, product, scene.light))
            continue
        if ground.gloss > 0.03:
            image = reflect(c, image, product, ground)
        light = np.minimum(light, cast_shadow(c, product, scene.light, ground))
        light *= contact_shadow(c, product)
    return image * light


def _arrange(c: Canvas, scene: Scene, rng: np.random.Generator, count: int) -> list[Product]:
    """Products of one picture, side by side if there are several."""
    ground = scene.ground
    models = [build(rng) for _ in range(count)]
    heights = [_height(c, ground, model, rng, count) for model in models]
    widths = [min(h * m.aspect, c.width) for h, m in zip(heights, models, strict=True)]
    gap = float(rng.uniform(-0.02, 0.06))
    center, foot = _spot(c, ground, rng, sum(widths) + gap * (count - 1), max(heights))
    left = center - (sum(widths) + gap * (count - 1)) / 2
    products = []
    for model, height, width in zip(models, heights, widths, strict=True):
        foot_y = foot
        if ground is not None and count > 1:
            foot_y = float(np.clip(foot + rng.uniform(-0.05, 0.03), ground.far, ground.near))
        products.append(
            draw(
                c,
                model,
                scene.light,
                center_x=left + width / 2,
                foot_y=foot_y,
                height=height,
                tilt=_tilt(ground, rng),
            )
        )
        left += width + gap
    return products


def _height(
    c: Canvas, ground: Ground | None, model: Model, rng: np.random.Generator, count: int
) -> float:
    """Height of a product in units: mostly a quarter to three fifths of the picture's."""
    share = rng.uniform(0.28, 0.62) if rng.random() < 0.85 else rng.uniform(0.2, 0.75)
    height = float(np.clip(share, _LOWEST_HEIGHT, _LARGEST_HEIGHT)) * c.height
    # Wide things are lower and slim ones higher, as their area is what fills a picture.
    height *= float(np.clip(model.aspect / 0.8, 0.25, 4)) ** -0.3
    if count > 1:
        height *= 0.8
    widest = _WIDEST * c.width
    if ground is not None and ground.right - ground.left < _NARROW:
        widest = min(widest, 0.36)
    tallest = _LARGEST_HEIGHT * c.height
    if ground is not None and ground.upright:
        tallest = min(tallest, ground.near - 0.02)
    return min(height, tallest, widest / count / model.aspect)


def _spot(
    c: Canvas, ground: Ground | None, rng: np.random.Generator, width: float, height: float
) -> tuple[float, float]:
    """Middle and foot of what is placed; one in fifteen is cut by the picture's edge."""
    cropped = rng.random() < 0.07
    half = width / 2
    if ground is None:
        room = max(c.height - height, 0.0)
        foot = height + room * float(rng.uniform(0.15, 0.85))
        return _within(rng, half, c.width - half, c.width / 2, cropped, half), foot
    if not ground.upright:
        # It lies on the surface: its middle, not its foot, is what has to be on it.
        low, high = ground.far, min(ground.near, c.height)
        middle = (low + high) / 2 if high - low < height else rng.uniform(
            low + height / 2, high - height / 2
        )  # fmt: skip
        foot = float(middle) + height / 2
    else:
        foot = float(rng.uniform(ground.far, ground.near))
        # What would reach out of the top stands nearer, as far as the ground goes.
        foot = float(np.clip(foot, min(height + 0.03, ground.near), ground.near))
    left, right = max(ground.left, half), min(ground.right, c.width - half)
    return _within(rng, left, right, (ground.left + ground.right) / 2, cropped, half), foot


def _within(
    rng: np.random.Generator, left: float, right: float, middle: float, cropped: bool, half: float
) -> float:
    """An x between two bounds, more often near the middle; their middle if they cross."""
    if right < left:
        return middle
    if cropped and right - left > 0.3:
        edge, sign = (left, -1) if rng.random() < 0.5 else (right, 1)
        return edge + sign * half * float(rng.uniform(0.1, 0.6))
    return float(left + (right - left) * rng.beta(1.7, 1.7))


def _tilt(ground: Ground | None, rng: np.random.Generator) -> float:
    """Radians: none where it stands, some where it floats, any small angle where it lies."""
    if ground is not None and ground.upright:
        return 0.0
    if ground is None:
        return float(rng.normal(0, 0.12)) if rng.random() < 0.5 else 0.0
    return float(rng.uniform(-0.6, 0.6)) if rng.random() < 0.6 else 0.0
