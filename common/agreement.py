"""How far two models decide alike.

P1 (section 6.1) finds that models hyperfitted on one set in two orders share 68 to 75 % of their
top-1 predictions. Teacher-forced agreement asks both about the same prefixes; agreement of greedy
continuations compares what they write, where one difference changes all that follows, so it comes
with the number of tokens before the first difference.

Shapes: N sequences with L decisions in each, B per batch, V vocabulary, P continuations of M
tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor, nn


def top1_tokens(scores: Iterable[tuple[slice, Tensor]]) -> np.ndarray:
    """(N, L) int64 likeliest token at each position, from the scores of `common.next_scores`."""
    return np.concatenate([scores_BLV.argmax(dim=-1).cpu().numpy() for _, scores_BLV in scores])


def equal_share(one_PM: np.ndarray, other_PM: np.ndarray) -> np.ndarray:
    """(P,) share of positions at which both hold the same token."""
    return (one_PM == other_PM).mean(axis=1)


def tokens_until_difference(one_PM: np.ndarray, other_PM: np.ndarray) -> np.ndarray:
    """(P,) length of the common beginning in tokens; M where there is no difference."""
    return np.cumprod(one_PM == other_PM, axis=1).sum(axis=1)


def largest_difference(one: nn.Module, other: nn.Module) -> float:
    """Between equal weights of two models of one architecture; 0 for the same weights."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)
