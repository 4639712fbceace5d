"""Krippendorff's alpha against the worked example of its author and against counting pairs."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from benchmarks.preference.krippendorff import krippendorff_alpha

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: 4 observers, 12 units.
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def counted(units: list[list[int]], categories: int) -> np.ndarray:
    return np.array([[unit.count(c) for c in range(categories)] for unit in units])


def alpha_by_pairs(units: list[list[int]]) -> float:
    """One minus the share of unlike pairs within units over that among all pairable votes."""
    units = [unit for unit in units if len(unit) > 1]
    votes = [vote for unit in units for vote in unit]
    observed = sum(
        sum(a != b for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ) / len(votes)
    every = list(permutations(votes, 2))
    return 1 - observed / (sum(a != b for a, b in every) / len(every))


def test_alpha_against_the_published_example() -> None:
    columns = zip(*(row.split() for row in OBSERVERS), strict=True)
    units = [[int(v) - 1 for v in column if v != "."] for column in columns]
    alpha = krippendorff_alpha(counted(units, 5))
    assert alpha is not None
    assert alpha.mean == pytest.approx(0.743, abs=5e-4)
    assert alpha.n == 11  # the last unit has a single vote


def test_alpha_against_counting_pairs() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        units = [rng.integers(3, size=rng.integers(0, 5)).tolist() for _ in range(9)]
        alpha = krippendorff_alpha(counted(units, 3), resamples=10)
        assert alpha is not None
        assert alpha.mean == pytest.approx(alpha_by_pairs(units))


def test_the_interval_against_all_resamples() -> None:
    units = [[0, 0], [1, 1], [0, 1], [2, 2]]
    alpha = krippendorff_alpha(counted(units, 3), resamples=20_000)
    assert alpha is not None
    every = [
        alpha_by_pairs(list(drawn))
        for drawn in product(units, repeat=4)
        if len({vote for unit in drawn for vote in unit}) > 1
    ]
    # Few values are possible, so the percentiles are exactly these.
    low, high = np.quantile(every, [0.025, 0.975])
    assert (alpha.low, alpha.high) == pytest.approx((low, high), abs=1e-6)


def test_perfect_agreement_is_one_and_random_votes_are_near_zero() -> None:
    perfect = krippendorff_alpha([[3, 0, 0], [0, 3, 0], [0, 0, 3]])
    assert perfect is not None
    assert (perfect.mean, perfect.high) == (1.0, 1.0)
    votes_UC = np.random.default_rng(0).multinomial(2, [1 / 3] * 3, size=5000)
    chance = krippendorff_alpha(votes_UC, resamples=10)
    assert chance is not None and abs(chance.mean) < 0.03


@pytest.mark.parametrize("counts", [[[1, 0], [0, 1]], [[2, 0], [3, 0]], np.zeros((0, 3))])
def test_there_is_no_alpha_without_two_votes_or_without_variation(counts: object) -> None:
    assert krippendorff_alpha(counts) is None  # type: ignore[arg-type]
