"""Does a fixed offset on the logits of the tokens that rose most do what hyperfitting does?

The control is that of P2 (Li et al., ICML 2026, arXiv 2605.22579): take the K tokens that rose most
in rank on average, and the mean change of their logits; add that offset, times some strength, to
the original's logits at every step. The offset is estimated on true continuations and tried on
prompts of other documents: the prompts are divided into two halves, and each half is decoded with
the offset of the other half.

Logits are defined up to a constant per position, which softmax ignores but an offset on K tokens
alone would not: a model whose logits are all 1 higher has changed nothing. So differences are taken
after each position's mean over the vocabulary is removed.

Shapes: B sequences of a batch, L positions in each, V vocabulary, K tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from benchmarks.analyses.agreement import equal_share
from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, flat, of_condition, read_options
from common.decode.methods import greedy_config
from common.errors import UserError
from common.measure.intervals import bootstrap_mean, point

HALVES = (slice(0, None, 2), slice(1, None, 2))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the analysis."""

    strengths: list[float] = field(default_factory=lambda: [0.01, 0.05, 0.1, 0.25, 0.5, 1.0])
    """What the offset is multiplied by (P2: 0.01 to 0.5)."""


def static_injection(
    run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]
) -> Measured:
    """The original decoded greedily with the offset added, at several strengths.

    Metrics: "injected-STRENGTH/all/METRIC", the run's "original-greedy" and "hyperfitted-greedy",
    "tokens_injected" (K) and "mean_offset" in logits. Series "by_strength": the type-token ratio,
    rep-4 and the share of tokens that the injection left as they were, with strength 0 for the
    original.
    """
    chosen = read_options(Options, options, analysis="static_injection")
    if len(run.truth_PT) < 2 * len(HALVES):
        raise UserError(
            expected="at least 4 prompts, two to estimate on and two to decode",
            got=f"{len(run.truth_PT)}",
            fix="analyse a run with more prompts",
        )
    offsets = _offsets(run)
    before_PM = np.stack(run.sampled("original-greedy"))
    shown = (run.domain.ttr_name, "rep_4")
    injected = [offset.offsets_K.mean().item() for offset in offsets]
    metrics = {
        "tokens_injected": point(len(offsets[0].tokens_K), len(before_PM)),
        "mean_offset": point(float(np.mean(injected)), len(before_PM)),
    }
    for condition in ("original-greedy", "hyperfitted-greedy"):
        metrics |= of_condition(condition, run.measured(condition))
    start = {name: run.measured("original-greedy")[name] for name in shown}
    start["equal_share"] = bootstrap_mean(equal_share(before_PM, before_PM))
    series = [{"strength": 0.0, **flat(start)}]
    for strength in chosen.strengths:
        texts = _injected(run, offsets, strength)
        scores = run.score(f"injected-{strength:g}", texts, judge=False)
        scores["equal_share"] = bootstrap_mean(equal_share(np.stack(texts), before_PM))
        metrics |= of_condition(f"injected-{strength:g}", scores)
        record = {name: scores[name] for name in (*shown, "equal_share")}
        series.append({"strength": strength, **flat(record)})
    return Measured(metrics=metrics, series={"by_strength": series})


def _offsets(run: FinishedRun) -> list[StaticOffset]:
    """The offset of each half of the prompts."""
    return [
        static_offset(*(run.scores(model, run.truth_PT[half]) for model in run.models().values()))
        for half in HALVES
    ]


def _injected(run: FinishedRun, offsets: list[StaticOffset], strength: float) -> list[np.ndarray]:
    """P greedy continuations of the original, each half with the other half's offset."""
    texts: list[Any] = [None] * len(run.truth_PT)
    for half, offset in zip(HALVES, reversed(offsets), strict=True):
        texts[half] = run.generate(
            run.original,
            greedy_config(),
            prompts_PC=run.prompts.ids_PC[half],
            processors=[StaticInjection(offset, strength)],
        )
    return texts


TOKENS = 500  # P2
LARGEST_SHARE = 4  # at most V / 4 tokens: 500 of a small vocabulary would be all of it


@dataclass(frozen=True, kw_only=True)
class StaticOffset:
    """What a hyperfitted model adds to the original's logits on average.

    Attributes:
        tokens_K: the K ids that gained most mean rank, the largest gain first.
        offsets_K: float32, their mean change of logit.
        gain_K: places that each rose on average.
    """

    tokens_K: Tensor
    offsets_K: Tensor
    gain_K: Tensor


def tokens_to_inject(vocabulary: int) -> int:
    """K: 500, or a quarter of a vocabulary below 2000."""
    return max(1, min(TOKENS, vocabulary // LARGEST_SHARE))


def static_offset(
    original: Iterable[tuple[slice, Tensor]], hyperfitted: Iterable[tuple[slice, Tensor]]
) -> StaticOffset:
    """Mean offset of the tokens that gained most rank.

    Args:
        original, hyperfitted: scores of both models on the same sequences, from
            `next_scores`; not the sequences that the offset will be tried on. A token that
            is forbidden (-inf) has offset 0.
    """
    positions = 0
    gain_V = offset_V = torch.zeros((), dtype=torch.float64)
    for (_, before_BLV), (_, after_BLV) in zip(original, hyperfitted, strict=True):
        positions += before_BLV.shape[0] * before_BLV.shape[1]
        gain_V = gain_V + (_rank_sums(before_BLV) - _rank_sums(after_BLV)).cpu()
        change_BLV = _centred(after_BLV).sub_(_centred(before_BLV))
        offset_V = offset_V + change_BLV.sum(dim=(0, 1), dtype=torch.float64).cpu()
    best = (gain_V / positions).topk(tokens_to_inject(len(gain_V)))
    return StaticOffset(
        tokens_K=best.indices,
        offsets_K=(offset_V / positions)[best.indices].float(),
        gain_K=best.values,
    )


def _rank_sums(scores_BLV: Tensor) -> Tensor:
    """(V,) sum over positions of each token's rank, 0 being the likeliest."""
    vocabulary = scores_BLV.shape[-1]
    order_XV = scores_BLV.flatten(0, 1).argsort(dim=-1, descending=True)
    ranks_XV = torch.arange(vocabulary, device=order_XV.device).expand_as(order_XV)
    sums_V = torch.zeros(vocabulary, dtype=torch.int64, device=order_XV.device)
    return sums_V.scatter_add_(0, order_XV.flatten(), ranks_XV.flatten())


def _centred(scores_BLV: Tensor) -> Tensor:
    """Scores less their mean over the allowed tokens; 0 for the others."""
    allowed_BLV = scores_BLV.isfinite()
    finite_BLV = scores_BLV.where(allowed_BLV, 0.0)
    mean_BL1 = finite_BLV.sum(dim=-1, keepdim=True) / allowed_BLV.sum(dim=-1, keepdim=True)
    return (finite_BLV - mean_BL1).where(allowed_BLV, 0.0)


class StaticInjection(LogitsProcessor):
    """Adds an offset to the logits of some tokens at every step.

    Args:
        offset: from `static_offset`.
        strength: what it is multiplied by.
    """

    def __init__(self, offset: StaticOffset, strength: float) -> None:
        self.tokens_K, self.added_K = offset.tokens_K, strength * offset.offsets_K

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # (B, T), (B, V)
        """(B, V) scores."""
        tokens_K = self.tokens_K.to(scores.device)
        return scores.index_add(1, tokens_K, self.added_K.to(scores).expand(len(scores), -1))
