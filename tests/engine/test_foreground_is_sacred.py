"""Law 1: where the resized foreground is opaque, the result has its bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.compose import compose
from engine.job import ResizeMode
from engine.mask import repaint_mask
from engine.resize import pad_to_multiple, resize_foreground

FACTOR = 8


def opaque_disc(shape, rng):
    y, x = np.mgrid[: shape[0], : shape[1]]
    center = np.array(shape) * rng.uniform(0.3, 0.7, 2)
    distance = np.hypot(y - center[0], x - center[1])
    return np.clip((min(shape) * 0.4 - distance) * rng.uniform(10, 300), 0, 255)


ALPHA_PATTERNS = {
    "disc": opaque_disc,
    "noise": lambda shape, rng: rng.integers(0, 256, shape),
    "hard noise": lambda shape, rng: rng.choice([0, 255], shape),
    "nearly opaque": lambda shape, rng: rng.choice([255, 255, 255, 254], shape),
    "ramp": lambda shape, _: np.broadcast_to(np.linspace(0, 255, shape[1]), shape),
    "empty": lambda shape, _: np.zeros(shape),
    "blocks": lambda shape, rng: np.kron(
        rng.choice([0, 255, 255], (shape[0] // 8 + 1, shape[1] // 8 + 1)), np.ones((8, 8))
    )[: shape[0], : shape[1]],
}


SHORT, LONG = st.integers(64, 150), st.integers(64, 2560)
CANVASES = st.one_of(st.tuples(SHORT, SHORT), st.tuples(SHORT, LONG), st.tuples(LONG, SHORT))


@settings(deadline=None, max_examples=150)
@given(
    source=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    canvas=CANVASES,
    same_size=st.booleans(),
    mode=st.sampled_from(ResizeMode),
    pattern=st.sampled_from(sorted(ALPHA_PATTERNS)),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_subject_comes_through_untouched(source, canvas, same_size, mode, pattern, seed):
    rng = np.random.default_rng(seed)
    width, height = canvas
    if same_size:
        source = canvas
    pixels = rng.integers(0, 256, (source[1], source[0], 4), dtype=np.uint8)
    pixels[..., 3] = ALPHA_PATTERNS[pattern](pixels.shape[:2], rng)
    foreground = resize_foreground(Image.fromarray(pixels), width, height, mode)
    if same_size:
        assert foreground.tobytes() == pixels.tobytes()

    padded = pad_to_multiple(foreground, FACTOR)
    mask = repaint_mask(np.asarray(padded.getchannel("A")), FACTOR)
    painted = Image.fromarray(
        rng.integers(0, 256, (padded.height, padded.width, 3), dtype=np.uint8)
    )
    background = painted.crop((0, 0, width, height))
    out = np.asarray(compose(foreground, background))

    subject, painting = np.asarray(foreground), np.asarray(background)
    alpha = subject[..., 3]
    assert np.array_equal(out[alpha == 255], subject[alpha == 255][:, :3])
    assert np.array_equal(out[alpha == 0], painting[alpha == 0])
    a = alpha[..., None] / 255
    assert np.abs(out - (subject[..., :3] * a + painting * (1 - a))).max() <= 1

    repainted = np.kron(mask, np.ones((FACTOR, FACTOR)))[:height, :width].astype(bool)
    assert (alpha[~repainted] == 255).all()
    soft = np.asarray(padded.getchannel("A")) < 255
    cells = soft.reshape(mask.shape[0], FACTOR, mask.shape[1], FACTOR)
    assert np.array_equal(cells.any(axis=(1, 3)), mask == 1)
