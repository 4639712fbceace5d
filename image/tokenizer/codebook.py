"""Training of the codebook: k-means start, moving averages, restarts of dead codes.

`VQModel` begins with a codebook near zero, far from the outputs of most encoders: all outputs are
then quantised to a few codes, and the other codes never get a gradient. Here the rows start as
k-means centres of encoder outputs. Each row then follows the moving average of the outputs that are
quantised to it (van den Oord et al. 2017, appendix A.1). A row that no output was quantised to for
some updates is replaced by an encoder output of the current batch (Dhariwal et al. 2020, "Jukebox",
section 3.1).

Shapes: K codes, D width of a code, M latents of one batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from common.tools.kmeans import kmeans, nearest, sample, totals

KMEANS_STEPS = 10


class Codebook:
    """Updates the rows of one embedding, which gets no gradients.

    Args:
        embedding_KD: the quantiser's weight, fp32, changed in place.
        decay: of the moving averages, in [0, 1).
        restart_after: a row that is not chosen for this many updates is dead.
        seed: of the draws.
    """

    def __init__(
        self, embedding_KD: Tensor, *, decay: float, restart_after: int, seed: int
    ) -> None:
        assert embedding_KD.dtype == torch.float32 and not embedding_KD.requires_grad
        self.embedding_KD = embedding_KD
        self.decay, self.restart_after, self.seed = decay, restart_after, seed
        self.counts_K = torch.zeros(len(embedding_KD), device=embedding_KD.device)
        self.sums_KD = torch.zeros_like(embedding_KD)
        self.chosen_at_K = torch.zeros_like(self.counts_K, dtype=torch.int64)
        self.restarts = 0

    @torch.no_grad()
    def start(self, latents_MD: Tensor, *, batch_latents: int, update: int) -> None:
        """Set the rows to the k-means centres of some latents.

        Args:
            latents_MD: at least K of them.
            batch_latents: latents per batch, for the scale of the averaged counts.
            update: number of the next update.
        """
        codes = len(self.embedding_KD)
        draw = self._generator(update)
        centres_KD = kmeans(latents_MD, codes, steps=KMEANS_STEPS, generator=draw)
        counts_K, _ = totals(latents_MD, nearest(latents_MD, centres_KD), codes)
        self.counts_K.copy_(counts_K * batch_latents / len(latents_MD)).clamp_(min=1.0)
        self.embedding_KD.copy_(centres_KD)
        self.sums_KD.copy_(centres_KD * self.counts_K[:, None])
        self.chosen_at_K.fill_(update)

    @torch.no_grad()
    def follow(self, latents_MD: Tensor, ids_M: Tensor, *, update: int) -> None:
        """Move the rows towards the latents that were quantised to them, then replace dead rows.

        Args:
            latents_MD: encoder outputs of this batch.
            ids_M: the row that each was quantised to.
            update: number of this update.
        """
        counts_K, sums_KD = totals(latents_MD, ids_M, len(self.embedding_KD))
        self.counts_K.lerp_(counts_K, 1.0 - self.decay)
        self.sums_KD.lerp_(sums_KD, 1.0 - self.decay)
        self.chosen_at_K[counts_K > 0] = update
        dead_K = update - self.chosen_at_K >= self.restart_after
        dead = min(int(dead_K.sum()), len(latents_MD))
        if dead:
            rows = dead_K.nonzero()[:dead, 0]
            draw = self._generator(update)
            picked = sample(len(latents_MD), dead, draw, self.embedding_KD.device)
            self.counts_K[rows] = 1.0
            self.sums_KD[rows] = latents_MD[picked]
            self.chosen_at_K[rows] = update
            self.restarts += dead
        self.embedding_KD.copy_(self.sums_KD / self.counts_K[:, None])

    def usage(self, *, update: int, window: int) -> float:
        """Share of the rows chosen (or restarted) in the last `window` of `update` updates."""
        return (update - self.chosen_at_K <= window).float().mean().item()

    def perplexity(self) -> float:
        """exp of the entropy of the averaged counts: the equivalent number of equally used rows."""
        return torch.distributions.Categorical(self.counts_K).entropy().exp().item()

    def state_dict(self) -> dict[str, Any]:
        """The state except the rows, which belong to the model."""
        return {
            "counts": self.counts_K.cpu(),
            "sums": self.sums_KD.cpu(),
            "chosen_at": self.chosen_at_K.cpu(),
            "restarts": self.restarts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts_K.copy_(state["counts"])
        self.sums_KD.copy_(state["sums"])
        self.chosen_at_K.copy_(state["chosen_at"])
        self.restarts = state["restarts"]

    def _generator(self, update: int) -> torch.Generator:
        """Draws depend on seed and update alone, so a resumed run draws the same numbers."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + update)
