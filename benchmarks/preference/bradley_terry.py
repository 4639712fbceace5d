"""Strengths of contenders from pairwise votes, on one scale (Bradley and Terry 1952).

i is preferred to j with probability p_i / (p_i + p_j). The likelihood has a finite maximum only
where everyone can be reached from everyone along wins (Ford 1957). So who never lost to the rest,
or never won, has no finite strength, and who was never compared has none at all; `place` says so.
The others are fitted without those: that is the limit of the likelihood's maximum.

Shapes: I items, K contenders, R resamples; `wins_KK[i, j]` is how often i won against j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Place = Literal["finite", "above", "below", "unconnected"]
_MAX_STEPS = 100_000
_TOLERANCE = 1e-10


@dataclass(frozen=True, kw_only=True)
class Strength:
    """Where one contender stands.

    Attributes:
        contender: its label.
        place: "finite"; "above" or "below" the anchor without limit; "unconnected" to it.
        log_strength: ln(p / p of the anchor), 0 for the anchor; None unless finite.
        low: lower end of its interval; None where the interval has no lower end.
        high: upper end; None where there is none.
        preferred_to_anchor: probability that the model gives it; None where unconnected.
    """

    contender: str
    place: Place
    log_strength: float | None
    low: float | None
    high: float | None
    preferred_to_anchor: float | None

    def to_json(self) -> dict[str, Any]:
        """As the results file has it."""
        return asdict(self)


def bradley_terry(
    wins_IKK: np.ndarray,
    contenders: Sequence[str],
    *,
    anchor: int,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Strength]:
    """Strengths relative to an anchor, with percentile bootstrap intervals over items.

    All votes on an item are resampled together. Resamples in which a contender has no finite
    strength count as beyond every number, those in which it is unconnected are left out.

    Args:
        wins_IKK: (I, K, K) wins on each item; a tie is half a win for both.
        contenders: K labels.
        anchor: index of the one whose log strength is 0.
        resamples: bootstrap replicates.
        level: coverage.
        seed: of the replicates.

    Returns:
        The strongest first; those without a finite strength at their end of the list.
    """
    items = len(wins_IKK)
    log_K = log_strengths(wins_IKK.sum(axis=0)[None], anchor)[0]
    weights_RI = np.random.default_rng(seed).multinomial(items, [1 / items] * items, size=resamples)
    # (R, K, K) wins: each resample weighs an item by how often it was drawn.
    replicates_RK = log_strengths(np.tensordot(weights_RI, wins_IKK, axes=1), anchor)
    strengths = []
    for contender, log, replicates_R in zip(contenders, log_K, replicates_RK.T, strict=True):
        low, high = _interval(replicates_R, level) if np.isfinite(log) else (None, None)
        strengths.append(
            Strength(
                contender=contender,
                place=_place(log),
                log_strength=float(log) if np.isfinite(log) else None,
                low=low,
                high=high,
                preferred_to_anchor=None if np.isnan(log) else float(1 / (1 + np.exp(-log))),
            )
        )
    # Descending; -inf comes after every finite strength, and NaN, which has no place, last.
    order = np.argsort(-np.nan_to_num(log_K, nan=-np.inf, neginf=-1e300), kind="stable")
    return [strengths[index] for index in order]


def log_strengths(wins_RKK: np.ndarray, anchor: int) -> np.ndarray:
    """Maximum-likelihood log strengths by the MM algorithm of Hunter 2004, section 2.

    p_i <- W_i / sum_j n_ij / (p_i + p_j), with W_i the wins of i and n_ij the games of i and j.

    Args:
        wins_RKK: (R, K, K) wins of several data sets.
        anchor: index of the one whose log strength is 0.

    Returns:
        (R, K); inf or -inf for those who are above or below the anchor without limit, NaN for those
        who cannot be compared with it.
    """
    # (R, K, K) paths along wins. The contenders that the anchor reaches have a finite strength or
    # lie below it, those that reach the anchor have a finite one or lie above. The likelihood has a
    # finite maximum only among those with both, so the fit keeps the games between them alone.
    reached_RKK = _reachable(wins_RKK > 0)
    below_RK, above_RK = reached_RKK[:, anchor], reached_RKK[:, :, anchor]
    fitted_RK = below_RK & above_RK
    wins_RKK = wins_RKK * (fitted_RK[:, :, None] & fitted_RK[:, None, :])
    games_RKK = wins_RKK + wins_RKK.transpose(0, 2, 1)
    won_RK = wins_RKK.sum(axis=2)
    strength_RK = np.ones_like(won_RK)
    # Contenders that are not fitted, and an anchor that is alone, keep a strength of 1.
    moving_RK = won_RK > 0
    # The data sets that have not converged; only these take part in the next step.
    left = np.flatnonzero(moving_RK.any(axis=1))
    for _ in range(_MAX_STEPS):
        if not left.size:
            break
        old_RK = strength_RK[left]
        # (left, K) sum over j of n_ij / (p_i + p_j).
        rates_RK = (games_RKK[left] / (old_RK[:, :, None] + old_RK[:, None, :])).sum(axis=2)
        moving = moving_RK[left]
        new_RK = np.where(moving, won_RK[left] / np.where(moving, rates_RK, 1), 1)
        # The likelihood depends on ratios of strengths alone, so each step sets the anchor's to 1.
        new_RK = np.where(moving, new_RK / new_RK[:, anchor, None], 1)
        strength_RK[left] = new_RK
        left = left[np.abs(np.log(new_RK / old_RK)).max(axis=1) > _TOLERANCE]
    assert not left.size, "Bradley-Terry did not converge"
    log_RK = np.log(strength_RK)
    # One direction without the other: never lost, or never won, directly or through others.
    log_RK[above_RK & ~below_RK] = np.inf
    log_RK[below_RK & ~above_RK] = -np.inf
    log_RK[~above_RK & ~below_RK] = np.nan
    return log_RK


def remarks(strengths: Sequence[Strength], anchor: str) -> list[str]:
    """What the table cannot show, in words; empty where every strength is finite."""
    words = {
        "above": f"never lost, directly or through others, to {anchor}: stronger without limit",
        "below": f"never won, directly or through others, against {anchor}: weaker without limit",
        "unconnected": f"cannot be placed: the graph of wins does not connect it with {anchor}",
    }
    return [f"{s.contender} {words[s.place]}." for s in strengths if s.place != "finite"]


def _reachable(edges_RKK: np.ndarray) -> np.ndarray:
    """(R, K, K) whether j can be reached from i in any number of steps, none included."""
    reached = edges_RKK | np.eye(edges_RKK.shape[-1], dtype=bool)
    # Squaring doubles the number of steps, and no path needs more than K - 1. In float32, because
    # numpy multiplies Booleans without BLAS; the counts, at most K, are exact.
    for _ in range(edges_RKK.shape[-1].bit_length()):
        reached = np.matmul(reached.astype(np.float32), reached.astype(np.float32)) > 0
    return reached


def _interval(replicates_R: np.ndarray, level: float) -> tuple[float | None, float | None]:
    """Percentiles without interpolation, since there may be infinities; None for these."""
    ordered = np.sort(replicates_R[~np.isnan(replicates_R)])
    # Interpolating between a number and infinity has no meaning, so the ranks round outwards.
    tail = (1 - level) / 2 * (len(ordered) - 1)
    low, high = ordered[int(np.floor(tail))], ordered[int(np.ceil(len(ordered) - 1 - tail))]
    return float(low) if np.isfinite(low) else None, float(high) if np.isfinite(high) else None


def _place(log: float) -> Place:
    if np.isnan(log):
        return "unconnected"
    return "finite" if np.isfinite(log) else "above" if log > 0 else "below"
