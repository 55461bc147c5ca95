"""Distances between sets of feature vectors, (N, D) float each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Features = NDArray[np.float32]


def frechet_distance(first: Features, second: Features) -> float:
    """Of the Gaussians fitted to both (arXiv 1706.08500); grows where N is not far above D."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of the root of the product, by eigenvalues: they are real and not negative but for
    # rounding, even where N < D leaves both covariances singular.
    eigenvalues = linalg.eigvals(covariance_a @ covariance_b)
    root_trace = np.sqrt(np.clip(eigenvalues.real, 0, None)).sum()
    between_means = np.square(a.mean(0) - b.mean(0)).sum()
    return float(between_means + np.trace(covariance_a) + np.trace(covariance_b) - 2 * root_trace)


def kernel_distance(first: Features, second: Features) -> float:
    """Squared maximum mean discrepancy, unbiased, kernel (x.y/D + 1)^3 (arXiv 1801.01401)."""
    a, b = first.astype(np.float64), second.astype(np.float64)

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def off_diagonal_mean(matrix: NDArray[np.float64]) -> float:
        count = len(matrix)
        return float((matrix.sum() - np.trace(matrix)) / (count * (count - 1)))

    own = off_diagonal_mean(kernel(a, a)) + off_diagonal_mean(kernel(b, b))
    return own - 2 * float(kernel(a, b).mean())


def mean_distance(vectors: Features, pairs: list[tuple[int, int]]) -> float | None:
    """Mean Euclidean distance of the pairs; None if there are none."""
    if not pairs:
        return None
    return float(np.mean([np.linalg.norm(vectors[i] - vectors[j]) for i, j in pairs]))


def share(hits: list[bool]) -> float | None:
    """Share of True; None of nothing."""
    return round(float(np.mean(hits)), 4) if hits else None


def standard_error(hits: list[bool]) -> float | None:
    """Of `share`, by the binomial; None of nothing."""
    if not hits:
        return None
    rate = float(np.mean(hits))
    return round(float(np.sqrt(rate * (1 - rate) / len(hits))), 4)


def steps_in_order(values: list[float], *, rising: bool = True) -> float:
    """Share of the neighbouring values that go the right way."""
    differences = np.diff(values)
    return float(np.mean(differences > 0 if rising else differences < 0))
