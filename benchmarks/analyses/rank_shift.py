"""Where the tokens that a hyperfitted model chooses stood in the original's order.

The measure is that of P2 (Li et al., ICML 2026, arXiv 2605.22579), section 3: the share of greedy
decisions that are not the original's top-1, and the original rank of the chosen token. Ranks start
at 0, which is the greedy choice. The paper counts from 1, so its "rank above 10" is a rank of 10 or
more here.

It is measured along three paths: what the hyperfitted model writes greedily, the true continuations
(teacher-forced), and what the original writes greedily. On the last one the original's own choice
has rank 0 by definition, and the question is whether the hyperfitted model would choose the same.

Shapes: N sequences with L decisions in each, V vocabulary, B per batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.analyses.agreement import top1_tokens
from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, NoOptions, read_options
from common.measure.intervals import Interval, bootstrap_mean, point


def rank_shift(run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]) -> Measured:
    """Original ranks of the hyperfitted model's choices.

    Metrics: "hyperfitted-path/..." and "true-path/..." of `shift_shares`, and
    "original-path/shifted_share". Series "by_position": the shares of each path and the median rank
    at each new token.
    """
    read_options(NoOptions, options, analysis="rank_shift")
    first = run.first
    written = run.sequences(run.sampled("hyperfitted-greedy"))
    by_original = run.sequences(run.sampled("original-greedy"))

    def choices(ids_PT: Tensor) -> np.ndarray:
        return top1_tokens(run.scores(run.hyperfitted, ids_PT))

    def original_ranks(chosen_PM: np.ndarray, ids_PT: Tensor) -> np.ndarray:
        return ranks_of(chosen_PM, run.scores(run.original, ids_PT))

    paths = {
        "hyperfitted-path": original_ranks(written[:, first:].numpy(), written),
        "true-path": original_ranks(choices(run.truth_PT), run.truth_PT),
    }
    differs_PM = choices(by_original) != by_original[:, first:].numpy()
    metrics = {
        f"{path}/{name}": value
        for path, ranks_PM in paths.items()
        for name, value in shift_shares(ranks_PM).items()
    }
    metrics["original-path/shifted_share"] = bootstrap_mean(differs_PM.mean(axis=1))
    columns = {"original_path_shifted_share": differs_PM.mean(axis=0)}
    for path, ranks_PM in paths.items():
        prefix = path.replace("-", "_")
        columns |= {
            f"{prefix}_shifted_share": (ranks_PM > 0).mean(axis=0),
            f"{prefix}_far_share": (ranks_PM >= FAR_RANK).mean(axis=0),
            f"{prefix}_rank_median": np.median(ranks_PM, axis=0),
        }
    by_position = [
        {"position": position} | {name: float(values[position]) for name, values in columns.items()}
        for position in range(differs_PM.shape[1])
    ]
    return Measured(metrics=metrics, series={"by_position": by_position})


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
            `benchmarks.analyses.next_scores`.
    """
    found = []
    for rows, scores_BLV in scores:
        chosen_BL = torch.from_numpy(chosen_NL[rows]).to(scores_BLV.device)
        found.append(ranks(scores_BLV, chosen_BL).cpu().numpy())
    return np.concatenate(found)


def shift_shares(ranks_NL: np.ndarray) -> dict[str, Interval]:
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
