"""Two things measured in turn, so that a machine that slows down slows down both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Sample = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Samples of A and B, taken side by side: `a[i]` and `b[i]` belong together."""

    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """A over B of each pair."""
        return tuple(a / b for a, b in zip(self.a, self.b, strict=True))

    @property
    def ratio(self) -> float:
        """Median of A over B, pair by pair: what drifts between pairs does not enter."""
        return median(self.ratios)

    @property
    def ratio_spread(self) -> float:
        """Half the distance between the quartiles of the ratios."""
        return spread(self.ratios)


def alternate(a: Sample, b: Sample, *, rounds: int, warmups: int = 1) -> Pairs:
    """Takes `rounds` pairs, A first in one and B first in the next.

    Args:
        a: takes one sample; its unit is its own business.
        b: likewise, in the same unit.
        rounds: pairs, at least 1.
        warmups: pairs that are taken before and thrown away.
    """
    for _ in range(warmups):
        a()
        b()
    pairs = []
    for index in range(rounds):
        if index % 2:
            sample_b, sample_a = b(), a()
        else:
            sample_a, sample_b = a(), b()
        pairs.append((sample_a, sample_b))
    return Pairs(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


def noise(a: Sample, *, rounds: int) -> Pairs:
    """A against itself: how far from 1 a ratio of this machine may lie by chance."""
    return alternate(a, a, rounds=rounds)


def timed(work: Callable[[], object]) -> Sample:
    """A sample of `work`: the seconds one call of it takes by the wall clock."""

    def sample() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return sample


def spread(samples: Sequence[float]) -> float:
    """Half the distance between the quartiles; 0 of a single sample."""
    if len(samples) < 2:
        return 0.0
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return (high - low) / 2


def percentile(samples: Sequence[float], percent: int) -> float:
    """The value that `percent` per cent of the samples do not exceed (nearest rank)."""
    ranked = sorted(samples)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]
