"""How far annotators agree beyond chance: Krippendorff's alpha for nominal data.

Shapes: U units, C categories, R resamples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from common.measure.intervals import Interval


def krippendorff_alpha(
    counts_UC: ArrayLike, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """Nominal alpha with missing votes, and a percentile bootstrap interval over units.

    alpha = 1 - Do / De from the coincidence matrix, in which a unit with m votes counts each of its
    m (m - 1) ordered pairs of votes 1 / (m - 1) times (Krippendorff 2011, Computing Krippendorff's
    Alpha-Reliability, section C). 1 is perfect agreement, 0 what chance gives, below 0 worse.
    Resamples in which all votes are equal have no alpha and are left out of the interval.

    Args:
        counts_UC: (U, C) how many votes a unit got for a category.
        resamples: bootstrap replicates.
        level: coverage.
        seed: of the replicates.

    Returns:
        With n the number of units that two or more voted on; None where there is no such unit, or
        where all their votes are equal: then chance would agree as well, and nothing is learnt.
    """
    counts = np.asarray(counts_UC, dtype=np.float64)
    counts = counts[counts.sum(axis=1) >= 2]
    if not counts.size:
        return None
    pairs_UCC = counts[:, :, None] * counts[:, None, :]
    pairs_UCC -= counts[:, :, None] * np.eye(counts.shape[1])
    coincidences_UCC = pairs_UCC / (counts.sum(axis=1) - 1)[:, None, None]
    value = _alpha(coincidences_UCC.sum(axis=0)[None])[0]
    if np.isnan(value):
        return None
    units = len(counts)
    weights_RU = np.random.default_rng(seed).multinomial(units, [1 / units] * units, size=resamples)
    replicates_R = _alpha(np.tensordot(weights_RU, coincidences_UCC, axes=1))
    tail = (1 - level) / 2
    low, high = np.nanquantile(replicates_R, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high), units)


def _alpha(coincidences_RCC: np.ndarray) -> np.ndarray:
    """(R,) alpha of coincidence matrices; NaN where all votes are equal."""
    totals_RC = coincidences_RCC.sum(axis=2)
    n_R = totals_RC.sum(axis=1)
    observed_R = n_R - np.trace(coincidences_RCC, axis1=1, axis2=2)
    expected_R = (n_R**2 - np.square(totals_RC).sum(axis=1)) / (n_R - 1)
    alike_R = np.isclose(expected_R, 0)
    return np.where(alike_R, np.nan, 1 - observed_R / np.where(alike_R, 1, expected_R))
