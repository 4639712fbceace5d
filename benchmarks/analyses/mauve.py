"""MAUVE of every condition of a run against what really followed.

Features are the last token's state of prompt and continuation under a named model. All conditions
have as many texts as there are truths, so their scores can be compared with each other; with other
numbers of texts they cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.analyses.measured import Measured, read_options
from benchmarks.finished import FinishedRun
from common.errors import UserError
from common.intervals import point
from common.last_state import last_states
from common.mauve import clusters_for, mauve
from common.options import require

LEAST_TEXTS = 4


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the analysis."""

    model: Literal["original", "hyperfitted"] = "original"
    """Whose states are the features."""
    seeds: int = 20
    """How many seeds of k-means."""


def mauve_scores(run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]) -> Measured:
    """MAUVE over the pooled prompts.

    Metrics, with MODEL the option: "CONDITION/all/mauve[MODEL]", the mean over seeds, and
    "mauve_min[MODEL]", "mauve_max[MODEL]" over them. These are no confidence intervals, so none has
    one; n is the number of texts on either side. Series "by_seed": condition, seed, score, n,
    clusters.

    Raises:
        UserError: fewer than 4 prompts, or no seed.
    """
    chosen = read_options(Options, options, analysis="mauve")
    require([("seeds", chosen.seeds, chosen.seeds >= 1, "at least 1")], option="analysis_options.")
    count = len(run.truth_PT)
    if count < LEAST_TEXTS:
        raise UserError(
            expected=f"at least {LEAST_TEXTS} prompts",
            got=f"{count}",
            fix="analyse a run with more prompts",
        )
    model, batch = run.models()[chosen.model], run.config.measure.batch_size
    true_PD = last_states(model, run.truth_PT, batch_size=batch)
    metrics, by_seed = {}, []
    for condition in run.domain.conditions():
        if condition.stage == "reference":
            continue
        ids_PT = run.sequences(run.sampled(condition.name))
        features_PD = last_states(model, ids_PT, batch_size=batch)
        scores = mauve(true_PD, features_PD, seeds=range(chosen.seeds))
        summary = {"mauve": np.mean, "mauve_min": min, "mauve_max": max}
        metrics |= {
            f"{condition.name}/all/{name}[{chosen.model}]": point(float(of(scores)), count)
            for name, of in summary.items()
        }
        by_seed += [
            {
                "condition": condition.name,
                "seed": seed,
                "mauve": score,
                "n": count,
                "clusters": clusters_for(count),
            }
            for seed, score in enumerate(scores)
        ]
    return Measured(metrics=metrics, series={"by_seed": by_seed})
