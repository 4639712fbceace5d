"""How sharp a model's predictions are, on held-out text or on its own output.

The probe computes entropy, top-k mass, loss and the rank of the true token for every predicted
token, and their means with intervals over sequences (sharpness: P1 = Carlsson et al., ICLR 2025,
arXiv 2412.04318, section 4; ranks: P2 = Li et al., ICML 2026, arXiv 2605.22579, section 3).

A mean is a sum over all tokens divided once, so a sequence weighs by its tokens. For the interval
each sequence i with sum s_i over n_i tokens enters the bootstrap as r + (s_i - r n_i) / mean(n),
where r is the mean: the linearised ratio estimator. If all sequences are equally long, this value
is the sequence's own mean.

Shapes: N sequences (or P prompts), T tokens, C prompt tokens, L scored positions, B per batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.measure.intervals import Interval, bootstrap_mean
from common.model.frozen_prefix import FrozenPrefix
from common.model.head import LogitsHead, attach_head
from common.model.token_stats import TokenStats
from common.tools.modules import eval_mode

LARGEST_EXPONENT = 709.0  # largest integer whose exp a float64, and so JSON, can hold


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Means over the counted tokens, each with a 95 % interval over sequences.

    Attributes:
        entropy_nats, loss_nats: per token.
        perplexity: exp(loss_nats), at most exp(709), so that it stays a JSON number.
        top1_mass, top3_mass, top5_mass: probability of the 1, 3, 5 likeliest tokens.
        gold_rank: mean rank of the true token, 0 being the greedy choice.
        gold_rank_median: over tokens, without an interval.
        gold_rank_zero_share: share of tokens that greedy decoding would have picked.
        share_p1_over_90, share_p1_over_99: share of tokens with a top-1 mass above 0.9, 0.99.
        tokens: how many were counted.
        stats: per token, (N, L) on the CPU; column 0 is the first position that can count.
        counted_NL: (N, L) bool, which of them are counted.
        notice: from `attach_head`, to be shown to the user; None on the lean path.
    """

    entropy_nats: Interval
    loss_nats: Interval
    perplexity: Interval
    top1_mass: Interval
    top3_mass: Interval
    top5_mass: Interval
    gold_rank: Interval
    gold_rank_median: float
    gold_rank_zero_share: Interval
    share_p1_over_90: Interval
    share_p1_over_99: Interval
    tokens: int
    stats: TokenStats
    counted_NL: Tensor
    notice: str | None

    def mean_by_position(self, name: str) -> np.ndarray:
        """(L,) mean of a `TokenStats` attribute over sequences; nan where no sequence counts."""
        counted_NL = self.counted_NL.numpy()
        # Positions that do not count add 0. Sums are divided by their own counts, not by N, and no
        # division takes place where the count is 0.
        values_NL = np.where(counted_NL, getattr(self.stats, name).double().numpy(), 0.0)
        counts_L = counted_NL.sum(axis=0)
        means_L = np.full(counts_L.shape, np.nan)
        np.divide(values_NL.sum(axis=0), counts_L, out=means_L, where=counts_L > 0)
        return means_L

    def to_json(self) -> dict[str, Any]:
        """Intervals as objects, `gold_rank_median` and `tokens` as numbers, no per-token values."""
        summary: dict[str, Any] = {
            name: value.to_json() for name, value in vars(self).items() if type(value) is Interval
        }
        return summary | {"gold_rank_median": self.gold_rank_median, "tokens": self.tokens}


def probe_sequences(
    model_or_head: Any,
    ids_NT: Tensor,
    *,
    batch_size: int,
    mask_NT: Tensor | None = None,
    start: int = 0,
    prefix: FrozenPrefix | None = None,
) -> ProbeResult:
    """Score given sequences, teacher-forced, with dropout off.

    Args:
        model_or_head: a causal LM, or the `LogitsHead` of one.
        ids_NT: (N, T) int64 ids, on any device.
        batch_size: sequences at a time.
        mask_NT: (N, T) bool, which tokens count; None counts all. Column 0 is never predicted.
        start: the first position that counts, e.g. the prompt's length.
        prefix: the frozen lower blocks' states of exactly these sequences, to save computing them.

    Raises:
        UserError: no token counts.
    """
    head = model_or_head
    if not isinstance(head, LogitsHead):
        device = next(model_or_head.parameters()).device
        head = attach_head(model_or_head, ids_NT[:1].to(device))
    # Token 0 has no context and is never predicted.
    first = max(start, 1)
    counted_NL = torch.ones_like(ids_NT, dtype=torch.bool) if mask_NT is None else mask_NT
    counted_NL = counted_NL[:, first:].cpu()
    if not counted_NL.any():
        raise UserError(
            expected=f"tokens to score after position {first - 1}",
            got=f"{ids_NT.shape[0]} sequences of {ids_NT.shape[1]} tokens, none of them counted",
            fix="give longer sequences or a shorter prompt",
        )
    stats = _token_stats(head, ids_NT, batch_size=batch_size, first=first, prefix=prefix)
    return _summary(stats, counted_NL, notice=head.notice)


def probe_continuations(
    model_or_head: Any,
    prompt_ids_PC: Tensor,
    continuations: list[np.ndarray],
    *,
    batch_size: int,
) -> ProbeResult:
    """Score a model on generated tokens alone, its own or another's.

    Position 0 of the result is the first generated token. Short continuations are padded on the
    right, which a causal model cannot see. Tokens count by position, never by a padding id.

    Args:
        model_or_head: a causal LM, or the `LogitsHead` of one.
        prompt_ids_PC: (P, C) int64 prompt ids, C at least 1.
        continuations: P arrays of generated ids; an empty one contributes no token.
        batch_size: sequences at a time.

    Raises:
        UserError: all continuations are empty.
    """
    prompts, context = prompt_ids_PC.shape
    assert len(continuations) == prompts, (len(continuations), prompts)
    longest = max((len(tokens) for tokens in continuations), default=0)
    # (P, C + longest): filled up with id 0, and the mask is set by length.
    ids_PT = torch.zeros(prompts, context + longest, dtype=torch.int64)
    ids_PT[:, :context] = prompt_ids_PC
    mask_PT = torch.zeros_like(ids_PT, dtype=torch.bool)
    for row, tokens in enumerate(continuations):
        ids_PT[row, context : context + len(tokens)] = torch.from_numpy(tokens)
        mask_PT[row, context : context + len(tokens)] = True
    return probe_sequences(
        model_or_head, ids_PT, batch_size=batch_size, mask_NT=mask_PT, start=context
    )


# `no_grad` and not `inference_mode`: some position embeddings refresh buffers in their forward
# pass, and a buffer made in inference mode breaks the next training step.
@torch.no_grad()
def _token_stats(
    head: LogitsHead,
    ids_NT: Tensor,
    *,
    batch_size: int,
    first: int,
    prefix: FrozenPrefix | None,
) -> TokenStats:
    """(N, T - first) statistics on the CPU, column 0 being about token `first`."""
    device = next(head.model.parameters()).device
    batches: list[TokenStats] = []
    with eval_mode(head.model):
        assert not any(module.training for module in head.model.modules()), "dropout may be active"
        for start in range(0, len(ids_NT), batch_size):
            ids_BT = ids_NT[start : start + batch_size].to(device)
            # The prefix keeps states by sequence, so it is asked for row numbers instead of ids.
            rows_B = list(range(start, start + len(ids_BT)))
            hidden_BTD = head.hidden(ids_BT) if prefix is None else prefix.hidden(rows_B)
            batches.append(head.token_stats(hidden_BTD, ids_BT))
    # Position t predicts token t + 1, so token `first` is in column `first` - 1.
    names = [field.name for field in fields(TokenStats)]
    return TokenStats(
        **{
            name: torch.cat([getattr(batch, name)[:, first - 1 :].cpu() for batch in batches])
            for name in names
        }
    )


def _summary(stats: TokenStats, counted_NL: Tensor, *, notice: str | None) -> ProbeResult:
    counted = counted_NL.numpy()

    def mean(values_NL: Tensor) -> Interval:
        return _mean_over_tokens(values_NL.double().numpy(), counted)

    loss_nats = mean(stats.loss_nats)
    return ProbeResult(
        entropy_nats=mean(stats.entropy_nats),
        loss_nats=loss_nats,
        perplexity=_exponential(loss_nats),
        top1_mass=mean(stats.top1_mass),
        top3_mass=mean(stats.top3_mass),
        top5_mass=mean(stats.top5_mass),
        gold_rank=mean(stats.gold_rank),
        gold_rank_median=float(np.median(stats.gold_rank.numpy()[counted])),
        gold_rank_zero_share=mean(stats.gold_rank == 0),
        share_p1_over_90=mean(stats.top1_mass > 0.9),
        share_p1_over_99=mean(stats.top1_mass > 0.99),
        tokens=int(counted.sum()),
        stats=stats,
        counted_NL=counted_NL,
        notice=notice,
    )


def _mean_over_tokens(values_NL: np.ndarray, counted_NL: np.ndarray) -> Interval:
    """Mean over counted tokens; the interval is over sequences that have any."""
    # (N,) sums s_i and counts n_i of each sequence. A sequence without a counted token says nothing
    # about the mean, and would be drawn in the bootstrap as if it did.
    tokens_N = counted_NL.sum(axis=1)
    sums_N = np.where(counted_NL, values_NL, 0.0).sum(axis=1)[tokens_N > 0]
    tokens_N = tokens_N[tokens_N > 0]
    mean = sums_N.sum() / tokens_N.sum()
    # The mean is a ratio r = sum s_i / sum n_i. Its linearisation r + (s_i - r n_i) / mean(n) has
    # the mean r, so a plain bootstrap over sequences gives its interval.
    return bootstrap_mean(mean + (sums_N - mean * tokens_N) / tokens_N.mean())


def _exponential(interval: Interval) -> Interval:
    """exp of a value and of its limits; exact for percentiles, since exp is monotone."""
    assert interval.low is not None and interval.high is not None
    mean, low, high = (
        math.exp(min(value, LARGEST_EXPONENT))
        for value in (interval.mean, interval.low, interval.high)
    )
    return Interval(mean, low, high, interval.n)
