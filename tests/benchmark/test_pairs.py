from __future__ import annotations

import pytest

from scripts.benchmark.pairs import Pairs, alternate, noise, percentile, spread


def test_pairs_are_taken_in_turn_and_each_goes_first_every_other_time() -> None:
    taken: list[str] = []

    def sample(name: str) -> float:
        taken.append(name)
        return 1.0

    alternate(lambda: sample("a"), lambda: sample("b"), rounds=3, warmups=1)
    assert taken == ["a", "b", "a", "b", "b", "a", "a", "b"]


def test_a_ratio_is_taken_pair_by_pair_so_that_drift_cancels() -> None:
    # The machine slows down tenfold; A always takes half of B.
    pairs = Pairs(a=(1.0, 2.0, 10.0), b=(2.0, 4.0, 20.0))
    assert pairs.ratio == 0.5
    assert pairs.ratio_spread == 0.0


def test_samples_keep_their_side_whichever_went_first() -> None:
    pairs = alternate(lambda: 3.0, lambda: 6.0, rounds=4)
    assert pairs.a == (3.0,) * 4
    assert pairs.b == (6.0,) * 4


def test_noise_is_a_against_itself() -> None:
    samples = iter([9.0, 9.0, 1.0, 2.0, 4.0, 3.0])
    pairs = noise(lambda: next(samples), rounds=2)
    assert pairs == Pairs(a=(1.0, 3.0), b=(2.0, 4.0))


@pytest.mark.parametrize(
    ("samples", "expected"), [((5.0,), 0.0), ((1.0, 2.0, 3.0, 4.0, 5.0), 1.0), ((2.0, 2.0), 0.0)]
)
def test_spread_is_half_the_distance_between_the_quartiles(
    samples: tuple[float, ...], expected: float
) -> None:
    assert spread(samples) == expected


@pytest.mark.parametrize(("percent", "expected"), [(99, 99.0), (50, 50.0), (100, 100.0), (1, 1.0)])
def test_a_percentile_is_the_nearest_rank(percent: int, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected
