"""MAUVE of every condition of a run against what really followed.

Features are the last token's state of prompt and continuation under a named model. All conditions
have as many texts as there are truths, so their scores can be compared with each other; with other
numbers of texts they cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, of_condition, read_options
from common.domain import Metrics
from common.errors import UserError
from common.last_state import last_states
from common.mauve import clusters_for, mauve
from common.measure.intervals import point
from common.tools.options import require

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
    against = AgainstTruth(run, chosen.model, chosen.seeds)
    metrics: Metrics = {}
    by_seed = []
    for condition in run.domain.conditions():
        if condition.stage == "reference":
            continue
        scores = against.scores(run.sampled(condition.name))
        metrics |= of_condition(condition.name, against.summary(scores))
        by_seed += [
            {
                "condition": condition.name,
                "seed": seed,
                "mauve": score,
                "n": against.count,
                "clusters": clusters_for(against.count),
            }
            for seed, score in enumerate(scores)
        ]
    return Measured(metrics=metrics, series={"by_seed": by_seed})


class AgainstTruth:
    """MAUVE of continuations against what really followed, on one model's states.

    Args:
        run: whose prompts and truths.
        model: "original" or "hyperfitted".
        seeds: how many seeds of k-means.

    Attributes:
        count: texts on either side.

    Raises:
        UserError: fewer than 4 prompts.
    """

    def __init__(self, run: FinishedRun, model: str, seeds: int) -> None:
        self.count, self._run, self._name, self._seeds = len(run.truth_PT), run, model, seeds
        if self.count < LEAST_TEXTS:
            raise UserError(
                expected=f"at least {LEAST_TEXTS} prompts",
                got=f"{self.count}",
                fix="analyse a run with more prompts",
            )
        self._model, self._batch = run.models()[model], run.config.measure.batch_size
        self._true_PD = last_states(self._model, run.truth_PT, batch_size=self._batch)

    def scores(self, continuations: Sequence[np.ndarray]) -> list[float]:
        """One score per seed, of P arrays of ids."""
        ids_PT = self._run.sequences(continuations)
        features_PD = last_states(self._model, ids_PT, batch_size=self._batch)
        return list(mauve(self._true_PD, features_PD, seeds=range(self._seeds)))

    def summary(self, scores: Sequence[float]) -> Metrics:
        """ "mauve[MODEL]", the mean over seeds, and "mauve_min[MODEL]", "mauve_max[MODEL]"."""
        of = {"mauve": np.mean, "mauve_min": min, "mauve_max": max}
        return {
            f"{name}[{self._name}]": point(float(function(scores)), self.count)
            for name, function in of.items()
        }
