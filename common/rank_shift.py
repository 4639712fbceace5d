"""Where the tokens that a hyperfitted model chooses stood in the original's order.

P2 (section 3): the share of greedy decisions that are not the original's top-1, and the original
rank of the chosen token. Ranks start at 0, which is the greedy choice; "rank above 10" in the
paper's count, which starts at 1, is a rank of 10 or more here.

Shapes: N sequences with L decisions in each, V vocabulary, B per batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from common.measure.intervals import Interval, bootstrap_mean, point

FAR_RANK = 10


def ranks(scores_BLV: Tensor, ids_BL: Tensor) -> Tensor:
    """(B, L) int64: how many tokens come before the given ones.

    Equal scores are ordered by id, as `argmax` does, so that rank 0 is the greedy choice.
    """
    chosen_BL1 = scores_BLV.gather(-1, ids_BL[..., None])
    order_V = torch.arange(scores_BLV.shape[-1], device=scores_BLV.device)
    tied_before_BLV = (scores_BLV == chosen_BL1) & (order_V < ids_BL[..., None])
    return ((scores_BLV > chosen_BL1) | tied_before_BLV).sum(dim=-1)


def ranks_of(chosen_NL: np.ndarray, scores: Iterable[tuple[slice, Tensor]]) -> np.ndarray:
    """(N, L) ranks of chosen tokens in the order that scores give.

    Args:
        chosen_NL: what was decided at each position.
        scores: of the model whose order counts, given the same prefixes, from
            `common.next_scores`.
    """
    found = []
    for rows, scores_BLV in scores:
        chosen_BL = torch.from_numpy(chosen_NL[rows]).to(scores_BLV.device)
        found.append(ranks(scores_BLV, chosen_BL).cpu().numpy())
    return np.concatenate(found)


def rank_shift(ranks_NL: np.ndarray) -> dict[str, Interval]:
    """Summary of the ranks, with intervals over sequences.

    Returns:
        `shifted_share` (rank above 0), `far_share` (rank of 10 or more), `rank_mean`, and
        `rank_median` over all decisions, without an interval.
    """
    return {
        "shifted_share": bootstrap_mean((ranks_NL > 0).mean(axis=1)),
        "far_share": bootstrap_mean((ranks_NL >= FAR_RANK).mean(axis=1)),
        "rank_mean": bootstrap_mean(ranks_NL.mean(axis=1)),
        "rank_median": point(float(np.median(ranks_NL)), len(ranks_NL)),
    }
