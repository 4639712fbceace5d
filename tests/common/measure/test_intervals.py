"""Intervals against naive resampling loops and closed forms."""

from __future__ import annotations

import json
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import ArrayLike

from common.measure.intervals import Interval, bootstrap_mean, jackknife, point


def bounds(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.high


def test_bootstrap_against_a_resampling_loop() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=40)
    ours = bootstrap_mean(values, resamples=4000, level=0.9, seed=3)
    rng = np.random.default_rng(99)
    means = sorted(sum(values[rng.integers(40)] for _ in range(40)) / 40 for _ in range(4000))
    assert ours.mean == pytest.approx(values.mean())
    assert bounds(ours) == pytest.approx((means[200], means[3800]), abs=0.05)
    assert ours.n == 40


def test_bootstrap_level_seed_and_resamples_matter() -> None:
    values = np.arange(30) ** 2
    wide, narrow = bootstrap_mean(values), bootstrap_mean(values, level=0.5)
    (low, high), (inner_low, inner_high) = bounds(wide), bounds(narrow)
    assert low < inner_low < wide.mean < inner_high < high
    assert bootstrap_mean(values) == wide
    assert bootstrap_mean(values, seed=1) != wide
    assert bootstrap_mean(values, resamples=100) != wide


def test_bootstrap_of_one_value_and_of_shares() -> None:
    assert bootstrap_mean([0.25]) == Interval(0.25, 0.25, 0.25, 1)
    share = bootstrap_mean(np.array([True, False, True, True]))
    assert share.mean == 0.75
    assert bounds(share) == (0.25, 1.0)


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], 3.0])
def test_bootstrap_refuses_what_is_not_one_value_per_prompt(values: ArrayLike) -> None:
    with pytest.raises(ValueError, match="one value per prompt"):
        bootstrap_mean(values)


def test_jackknife_of_a_mean_is_the_standard_error() -> None:
    values = np.random.default_rng(0).uniform(0.3, 0.6, size=25)
    left = [np.delete(values, i).mean() for i in range(25)]
    ours = jackknife(values.mean(), left)
    error = values.std(ddof=1) / np.sqrt(25)
    reach = NormalDist().inv_cdf(0.975) * error
    assert bounds(ours) == pytest.approx((values.mean() - reach, values.mean() + reach))
    assert bounds(jackknife(values.mean(), left, level=0.5))[1] < bounds(ours)[1]


def test_jackknife_stays_a_share_and_needs_two_prompts() -> None:
    assert bounds(jackknife(0.5, [0.0, 0.5, 1.0])) == (0.0, 1.0)
    assert jackknife(0.5, [0.0]) == point(0.5, 1)
    with pytest.raises(ValueError, match="one value per prompt"):
        jackknife(0.5, [])


def test_json_keeps_the_missing_interval() -> None:
    assert json.loads(json.dumps(point(7, 3).to_json())) == {
        "mean": 7.0,
        "low": None,
        "high": None,
        "n": 3,
    }
    assert bootstrap_mean([1, 2]).to_json()["n"] == 2
