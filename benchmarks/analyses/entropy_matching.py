"""Is hyperfitting a lower temperature?

P2 (Li et al., ICML 2026, arXiv 2605.22579) has this control: divide the original's scores by the
temperature T at which its mean entropy on held-out continuations is the hyperfitted model's, and
see whether it then behaves as that model does. Greedy decoding is the same at any T, so P2's
comparison of greedy texts cannot answer. Here the original is sampled at T and the hyperfitted
model at 1. The other way round, the hyperfitted model is sampled at the temperature that gives it
the original's entropy, and the original at 1.

With z = scores / T and p = softmax(z), the entropy is logsumexp(z) - sum(p z) and its slope over
ln T is the variance of z under p, which is never negative: entropy rises with T, the root is unique
and Newton's steps, kept inside a shrinking bracket, reach it in about five passes.

Shapes: N sequences of T tokens, L = T - first predictions in each, V vocabulary, B per batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.analyses.agreement import equal_share, top1_tokens
from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, NoOptions, of_condition, read_options
from benchmarks.analyses.next_scores import KeptScores
from common.decode.methods import sampling_config
from common.errors import UserError
from common.measure.intervals import bootstrap_mean, point

STAGES = ("original", "hyperfitted")


def entropy_matching(
    run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]
) -> Measured:
    """Both models at equal entropy.

    Metrics: "entropy_nats/STAGE" and "entropy_nats/STAGE-matched"; "temperature/STAGE", at which a
    stage has the other's entropy, and "difference_nats/STAGE", what remains; "top1_agreement" of
    both, teacher-forced, which no temperature moves; and "CONDITION/all/METRIC" for greedy decoding
    ("STAGE-greedy"), for sampling at 1 ("STAGE-at-1") and at the temperature found
    ("STAGE-at-matched").
    """
    read_options(NoOptions, options, analysis="entropy_matching")
    models = run.models()
    scores = {
        stage: KeptScores(
            models[stage], run.truth_PT, first=run.first, processors=run.domain.processors()
        )
        for stage in STAGES
    }
    plain = {stage: entropy_at(scores[stage], temperature=1.0) for stage in STAGES}
    tops = [top1_tokens(scores[stage]) for stage in STAGES]
    metrics = {"top1_agreement": bootstrap_mean(equal_share(*tops))}
    for stage, rival in zip(STAGES, reversed(STAGES), strict=True):
        target = plain[rival].mean_nats
        matched = match_entropy(scores[stage], target_nats=target)
        prompts = len(run.truth_PT)
        metrics |= {
            f"entropy_nats/{stage}": bootstrap_mean(plain[stage].nats_N),
            f"entropy_nats/{stage}-matched": bootstrap_mean(matched.nats_N),
            f"temperature/{stage}": point(matched.temperature, prompts),
            f"difference_nats/{stage}": point(matched.mean_nats - target, prompts),
        }
        metrics |= of_condition(f"{stage}-greedy", run.measured(f"{stage}-greedy"))
        for name, temperature in {"at-1": 1.0, "at-matched": matched.temperature}.items():
            method = sampling_config(top_p=1.0, temperature=temperature, top_k=0)
            condition = f"{stage}-{name}"
            texts = run.generate(models[stage], method)
            metrics |= of_condition(condition, run.score(condition, texts, judge=True))
    return Measured(metrics=metrics)


TEMPERATURES = (0.02, 50.0)  # where to look
FLOOR = -1e4  # stands for -inf: its probability is 0 as well, and 0 * FLOOR is 0


@dataclass(frozen=True, kw_only=True)
class EntropyAt:
    """Entropy of a model's predictions at one temperature.

    Attributes:
        temperature: what the scores were divided by.
        nats_N: (N,) mean entropy per token of each sequence.
        slope_nats: change of the mean per unit of ln(temperature).
    """

    temperature: float
    nats_N: np.ndarray
    slope_nats: float

    @property
    def mean_nats(self) -> float:
        """Per token, over all sequences; they are equally long."""
        return float(self.nats_N.mean())


def entropy_at(scores: Iterable[tuple[slice, Tensor]], *, temperature: float) -> EntropyAt:
    """Mean entropy in nats of the predictions that scores stand for.

    Args:
        scores: from `benchmarks.analyses.next_scores`; changed in place.
        temperature: what they are divided by.
    """
    nats, slopes = [], []
    for _, scores_BLV in scores:
        z_BLV = scores_BLV.div_(temperature)
        z_BLV.sub_(z_BLV.amax(dim=-1, keepdim=True)).clamp_(min=FLOOR)
        exp_BLV = z_BLV.exp()
        sum_BL = exp_BLV.sum(dim=-1)
        mean_BL = torch.linalg.vecdot(exp_BLV, z_BLV) / sum_BL
        square_BL = torch.linalg.vecdot(exp_BLV, z_BLV.square_()) / sum_BL
        nats.append((sum_BL.log() - mean_BL).double().mean(dim=1).cpu())
        slopes.append((square_BL - mean_BL.square()).double().mean(dim=1).cpu())
    return EntropyAt(
        temperature=temperature,
        nats_N=torch.cat(nats).numpy(),
        slope_nats=float(torch.cat(slopes).mean()),
    )


def match_entropy(
    scores: KeptScores, *, target_nats: float, tolerance_nats: float = 1e-3
) -> EntropyAt:
    """The temperature at which the mean entropy is `target_nats`, within the tolerance.

    Raises:
        UserError: no temperature between 0.02 and 50 gives this entropy.
    """
    low, high = (math.log(end) for end in TEMPERATURES)
    log_temperature = 0.0
    while high - low > 1e-6:
        found = entropy_at(scores, temperature=math.exp(log_temperature))
        excess = found.mean_nats - target_nats
        if abs(excess) <= tolerance_nats:
            return found
        low, high = (low, log_temperature) if excess > 0 else (log_temperature, high)
        step = excess / found.slope_nats if found.slope_nats > 0 else math.inf
        log_temperature -= step
        if not low < log_temperature < high:
            log_temperature = (low + high) / 2
    raise UserError(
        expected=f"an entropy that a temperature from {TEMPERATURES[0]} to {TEMPERATURES[1]} gives",
        got=f"{target_nats:.4g} nats",
        fix="compare models whose predictions are neither certain nor uniform",
    )
