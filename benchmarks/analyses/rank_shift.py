"""How often, and how far, does the hyperfitted model leave the original's first choice? (P2, 3)

Three paths: along what the hyperfitted model writes greedily, along the true continuations
(teacher-forced), and along what the original writes greedily, where its own choice is rank 0 by
definition and the hyperfitted model is asked whether it would have chosen the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, NoOptions, read_options
from common.agreement import top1_tokens
from common.measure.intervals import bootstrap_mean
from common.rank_shift import FAR_RANK, ranks_of
from common.rank_shift import rank_shift as summary


def rank_shift(run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]) -> Measured:
    """Original ranks of the hyperfitted model's choices.

    Metrics: "hyperfitted-path/..." and "true-path/..." of `common.rank_shift.rank_shift`, and
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
        for name, value in summary(ranks_PM).items()
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
