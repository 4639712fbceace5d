"""Can one fixed change of the logits do what hyperfitting does?

P2's control: take the K tokens that rose most in rank on average, and the mean change of their
logits; add that offset, at some strength, to the original's logits at every step.

Logits are defined up to a constant per position, which softmax ignores but an offset on K tokens
alone would not: a model whose logits are all 1 higher has changed nothing. So differences are taken
after each position's mean over the vocabulary is removed.

Shapes: B sequences of a batch, L positions in each, V vocabulary, K tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor

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
            `common.next_scores`; not the sequences that the offset will be tried on. A token that
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
