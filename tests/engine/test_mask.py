from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.mask import repaint_mask


@st.composite
def alphas(draw):
    factor = draw(st.sampled_from([1, 2, 4, 8]))
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    values = st.sampled_from([255, 255, 255, 254, 128, 0])
    return draw(arrays(np.uint8, (rows * factor, columns * factor), elements=values)), factor


@given(alphas())
def test_a_cell_is_kept_only_when_all_its_pixels_are_opaque(case):
    alpha, factor = case
    mask = repaint_mask(alpha, factor)
    assert mask.dtype == np.float32
    assert mask.shape == (alpha.shape[0] // factor, alpha.shape[1] // factor)
    for row, column in np.ndindex(mask.shape):
        cell = alpha[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        assert mask[row, column] == (0.0 if (cell == 255).all() else 1.0)


def test_transparent_pixels_are_repainted():
    assert repaint_mask(np.zeros((8, 8), np.uint8), 8).tolist() == [[1.0]]
    assert repaint_mask(np.full((8, 8), 255, np.uint8), 8).tolist() == [[0.0]]


def test_one_soft_pixel_repaints_its_cell_and_no_other():
    alpha = np.full((16, 24), 255, np.uint8)
    alpha[15, 8] = 254
    assert repaint_mask(alpha, 8).tolist() == [[0, 0, 0], [0, 1, 0]]


def test_a_size_that_does_not_divide_is_a_fault_of_the_caller():
    with pytest.raises(AssertionError):
        repaint_mask(np.zeros((8, 9), np.uint8), 8)
