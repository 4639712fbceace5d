"""Values with confidence intervals, and how they are computed.

Prompts are the sampling unit everywhere. Tokens of one continuation are far from independent, so
every interval resamples (or leaves out) whole prompts. The percentile bootstrap is used because the
measures are skewed and bounded, the jackknife where resampling itself would change the measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Interval:
    """A measured value, its confidence interval and its sample size.

    Attributes:
        mean: the value, in the unit of the measure.
        low: lower end of the interval; None where the measure has no interval.
        high: upper end; None exactly when `low` is.
        n: number of prompts (or other sampling units) behind the value.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """The object that `metrics.json` holds for this value."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}


def bootstrap_mean(
    values: ArrayLike, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean of one value per prompt with a percentile bootstrap interval over prompts.

    The interval of one value, or of equal values, has no width: a share of 0 out of n gets [0, 0].
    That is a limit of the bootstrap and no proof.

    Args:
        values: (P,) one number per prompt.
        resamples: bootstrap replicates.
        level: coverage, 0.95 for a 95 % interval.
        seed: the same seed and the same P draw the same prompts, so two measures of one set of
            continuations use the same resamples.

    Raises:
        ValueError: `values` is empty or not one-dimensional.
    """
    values_P = np.asarray(values, dtype=np.float64)
    if values_P.ndim != 1 or values_P.size == 0:
        raise ValueError(f"expected one value per prompt, at least one; got shape {values_P.shape}")
    draws_RP = np.random.default_rng(seed).integers(values_P.size, size=(resamples, values_P.size))
    means_R = values_P[draws_RP].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means_R, [tail, 1 - tail])
    return Interval(float(values_P.mean()), float(low), float(high), values_P.size)


def jackknife(value: float, leave_one_out: ArrayLike, *, level: float = 0.95) -> Interval:
    """A statistic of the whole set with a delete-one jackknife interval over prompts.

    This is for statistics such as distinct-n that count duplicates. A bootstrap resample contains
    some prompts several times, and these duplicates would bias the statistic. The interval is
    normal with variance (P - 1) / P * sum((x_i - mean(x))^2) (Efron and Stein 1981), clipped to
    [0, 1] because all such statistics here are shares.

    Args:
        value: the statistic on all prompts, a share in [0, 1].
        leave_one_out: (P,) the statistic without prompt i.
        level: coverage.

    Returns:
        The interval; without ends if there are fewer than two prompts.

    Raises:
        ValueError: `leave_one_out` is empty or not one-dimensional.
    """
    left_P = np.asarray(leave_one_out, dtype=np.float64)
    if left_P.ndim != 1 or left_P.size == 0:
        raise ValueError(f"expected one value per prompt, at least one; got shape {left_P.shape}")
    count = left_P.size
    if count < 2:
        return point(value, count)
    error = float(np.sqrt((count - 1) / count * np.square(left_P - left_P.mean()).sum()))
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    return Interval(float(value), max(0.0, value - reach), min(1.0, value + reach), count)


def point(value: float, n: int) -> Interval:
    """A number that has no interval, e.g. a maximum: `low` and `high` are None."""
    return Interval(float(value), None, None, n)


def in_words(value: Mapping[str, Any]) -> str:
    """ "0.612 [0.598, 0.625]" from the JSON form of an interval; the mean alone without one."""
    if value["low"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
