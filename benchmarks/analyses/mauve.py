"""MAUVE of every condition of a run against what really followed.

Features are the last token's state of prompt and continuation under a named model. All conditions
have as many texts as there are truths, so their scores can be compared with each other; with other
numbers of texts they cannot.

MAUVE measures how close generated sequences are to true ones as sets, from features of each.

Pillutla et al. 2021 (arXiv 2102.01454, sections 2 and 3): features of both sets are quantised
together, which gives two histograms P and Q; every mixture R = w P + (1 - w) Q is a point
(exp(-c KL(Q | R)), exp(-c KL(P | R))); MAUVE is the area under the curve that these points and the
corners (0, 1) and (1, 0) make, 1 for equal histograms and near 0 for disjoint ones.

Choices, those of the paper and of the usual implementation: features scaled to length 1, principal
components that hold 90 % of the variance, k-means with a tenth as many clusters as a set has
members, c = 5, 25 mixtures. The score depends on the number of members, so compare only sets of one
size, and on the k-means seed, so give several.

Features (section 4 there): one vector per sequence, the state of its last token after the final
norm. A causal model has seen the whole sequence there.

Shapes: N members of each set, M = 2 N of both, F features, D components, K clusters, W mixtures;
for the states P sequences of T tokens, B per batch, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, of_condition, read_options
from common.domain import Metrics
from common.errors import UserError
from common.measure.intervals import point
from common.model.causal_lm import context_length
from common.model.head import decoder_of
from common.tools.kmeans import kmeans, nearest
from common.tools.modules import eval_mode
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


EXPLAINED_VARIANCE = 0.9
MEMBERS_PER_CLUSTER = 10
SCALING = 5.0
MIXTURES = 25
KMEANS_STEPS, KMEANS_STARTS = 500, 5


def mauve(true_NF: Tensor, generated_NF: Tensor, *, seeds: Sequence[int]) -> list[float]:
    """MAUVE of two sets of features, in (0, 1], for each seed of k-means.

    Args:
        true_NF, generated_NF: as many of each, at least 4.
        seeds: of k-means.
    """
    members = len(true_NF)
    assert true_NF.shape == generated_NF.shape, (true_NF.shape, generated_NF.shape)
    assert members >= 4, members
    # (2 N, D): the two sets share one space and one clustering, so that histograms compare.
    points_MD = principal_components(torch.cat([true_NF, generated_NF]).double().cpu())
    clusters = clusters_for(members)
    areas = []
    for seed in seeds:
        ids_M = quantised(points_MD, clusters, seed=seed)
        # Two histograms, (K,) each: the share of a set's members in each cluster.
        shares = [
            torch.bincount(ids_N, minlength=clusters).numpy() / members
            for ids_N in (ids_M[:members], ids_M[members:])
        ]
        areas.append(divergence_area(*shares))
    return areas


def quantised(points_MD: Tensor, clusters: int, *, seed: int) -> Tensor:
    """(M,) cluster of each point, from the tightest of several starts of k-means."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(KMEANS_STARTS):
        centres_KD = kmeans(points_MD, clusters, steps=KMEANS_STEPS, generator=generator)
        ids_M = nearest(points_MD, centres_KD)
        found.append((float((points_MD - centres_KD[ids_M]).square().sum()), ids_M))
    return min(found, key=lambda one: one[0])[1]


def clusters_for(members: int) -> int:
    """K for sets of so many members."""
    return max(2, members // MEMBERS_PER_CLUSTER)


def principal_components(features_MF: Tensor) -> Tensor:
    """(M, D) features of length 1 along the fewest directions that hold 90 % of their variance."""
    # Length 1, so that clusters reflect directions and not norms.
    unit_MF = torch.nn.functional.normalize(features_MF, dim=1)
    centred_MF = unit_MF - unit_MF.mean(dim=0)
    # The right singular vectors of the centred features are their principal directions, and the
    # squared singular values are proportional to the variance along them.
    _, singular_D, directions_DF = torch.linalg.svd(centred_MF, full_matrices=False)
    held_D = singular_D.square().cumsum(0)
    # How many stay below the share, plus the one that passes it.
    kept = int((held_D < EXPLAINED_VARIANCE * held_D[-1]).sum()) + 1
    return centred_MF @ directions_DF[:kept].T


def divergence_area(true_K: np.ndarray, generated_K: np.ndarray) -> float:
    """Area under the divergence curve of two histograms."""
    # Without the ends 0 and 1, where one divergence may be infinite: the corners stand for them.
    weights_W1 = np.linspace(0.0, 1.0, MIXTURES + 2)[1:-1, None]
    mixed_WK = weights_W1 * true_K + (1 - weights_W1) * generated_K
    across_W, up_W = (
        np.exp(-SCALING * _divergence(one_K, mixed_WK)) for one_K in (generated_K, true_K)
    )
    # A larger weight of the true set moves to the left and up; the corners close the curve.
    across = np.concatenate([[1.0], across_W, [0.0]])[::-1]
    up = np.concatenate([[0.0], up_W, [1.0]])[::-1]
    # Trapezoids; `across` ascends after the reversal.
    return float((np.diff(across) * (up[1:] + up[:-1]) / 2).sum())


def _divergence(one_K: np.ndarray, mixed_WK: np.ndarray) -> np.ndarray:
    """(W,) KL divergence in nats of a histogram from each mixture; 0 log 0 is 0."""
    # (W, bins with members): a mixture is positive wherever the histogram is.
    there_K = one_K > 0
    part_WK = np.log(one_K[there_K] / mixed_WK[:, there_K])
    return (part_WK * one_K[there_K]).sum(axis=1)


@torch.no_grad()
def last_states(model: Any, ids_PT: Tensor, *, batch_size: int) -> Tensor:
    """(P, D) float32 states on the CPU.

    A model with fewer than T positions (an ImageGPT, whose last code predicts nothing and has no
    place) is given as many tokens as it takes.
    """
    ids_PT = ids_PT[:, : context_length(model)]
    states = []
    with eval_mode(model):
        for ids_BT in ids_PT.split(batch_size):
            output = decoder_of(model)(input_ids=ids_BT.to(model.device), use_cache=False)
            states.append(output.last_hidden_state[:, -1].float().cpu())
    return torch.cat(states)
