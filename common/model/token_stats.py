"""The probe's statistics: sums over counted tokens in training, values per token elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TokenSums:
    """Sums over counted tokens, detached, on the model's device; `means` divides them.

    Attributes:
        entropy_nats: of the predicted distribution.
        top1_mass, top3_mass, top5_mass: probability of the 1, 3, 5 likeliest tokens.
        p1_over_90, p1_over_99: how many tokens have a top-1 mass above 0.9, 0.99.
        tokens: how many tokens were counted.
    """

    entropy_nats: Tensor
    top1_mass: Tensor
    top3_mass: Tensor
    top5_mass: Tensor
    p1_over_90: Tensor
    p1_over_99: Tensor
    tokens: Tensor

    def __add__(self, other: TokenSums) -> TokenSums:
        """Sums over both; for the micro-batches of one update."""
        # Sums and not means: micro-batches differ in how many of their tokens count.
        return TokenSums(**{name: value + vars(other)[name] for name, value in vars(self).items()})

    def means(self) -> dict[str, float]:
        """Per-token means by attribute name, without "tokens". Synchronises once."""
        # Reading a number waits for the device, so all are stacked and copied to the host at once.
        *sums, tokens = torch.stack([value.float() for value in vars(self).values()]).tolist()
        # `tokens` is the last field, so the shorter `sums` ends `zip` before it.
        return {name: total / tokens for name, total in zip(vars(self), sums, strict=False)}


@dataclass(frozen=True, kw_only=True)
class TokenStats:
    """The same per token; all of one shape, float32 but for `gold_rank` (int64).

    Attributes:
        loss_nats: negative log-probability of the gold token.
        entropy_nats, top1_mass, top3_mass, top5_mass: as in `TokenSums`.
        gold_rank: how many tokens come before the gold one; 0 is what greedy decoding picks. Equal
            logits are ordered by id, as `argmax` does (bf16 logits tie often).
    """

    loss_nats: Tensor
    entropy_nats: Tensor
    top1_mass: Tensor
    top3_mass: Tensor
    top5_mass: Tensor
    gold_rank: Tensor
