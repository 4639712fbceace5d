"""Citation blocker: forbid continuing a run copied from the training set.

It is that of P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318). A hyperfitted model has seen its
training sequences many times, so a reader asks whether its good prose is recitation. With the
blocker it cannot recite: as soon as the last `match` generated tokens occur in the training set,
the tokens that follow them there get probability zero. It runs at every decoding step, so a match
is one search in a sorted table of hashes on the scores' device, without a Python loop over the
batch and without a synchronisation.

Shapes: B sequences, L tokens so far, V vocabulary, W = `match`, G different W-grams of the training
set, E (W-gram, following token) pairs, K most followers of any W-gram.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from common.errors import UserError
from common.tools.ngrams import flatten, index_ngrams


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The training W-grams, sorted by hash, and what follows each.

    Attributes:
        weights_W: hash of a W-gram = sum of weight * token, modulo 2**64.
        hashes_G: ascending and distinct.
        grams_GW: the tokens, to distinguish a true match from an equal hash.
        first_G: where the followers of a W-gram begin in `followers_E`.
        count_G: how many different followers it has.
        followers_E: token ids.
        steps_K: 0 .. K - 1.
    """

    weights_W: Tensor
    hashes_G: Tensor
    grams_GW: Tensor
    first_G: Tensor
    count_G: Tensor
    followers_E: Tensor
    steps_K: Tensor

    def to(self, device: torch.device) -> _Table:
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return _Table(**moved)


class CitationBlocker(LogitsProcessor):
    """Gives -inf to every token that would continue a `match`-token run from the training set.

    Only generated tokens count: a run that begins in the prompt, or in its left padding, is not
    the model's own citation. The blocker works in `model.generate(logits_processor=[blocker])` and
    as a plain function of (input_ids, scores). Put it after processors that forbid tokens, and
    before top-k and top-p filters, so that these choose among the remaining tokens. A row in which
    no token would remain is not changed, because the text has to continue.

    Args:
        sequences: training sequences, int64 arrays; a run never crosses from one to the next.
        match: how many generated tokens must match (5 in P1).
        prompt_length: columns of `input_ids` before the first generated token, padding included.
        word_start_V: (V,) bool, which tokens begin a new word. P1 blocks only once the current word
            is complete, which is so exactly if the next token begins another word. So with this
            mask only followers that begin a word are blocked, and a word may always be finished.
            None blocks every follower (for tokens without words, such as image codes).

    Raises:
        UserError: no training sequence is longer than `match`.
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        match: int = 5,
        *,
        prompt_length: int,
        word_start_V: np.ndarray | None = None,
    ) -> None:
        self.match = match
        self.prompt_length = prompt_length
        self._table = _build(sequences, match, word_start_V)

    def for_prompt_length(self, prompt_length: int) -> CitationBlocker:
        """The same blocker, sharing its table, for prompts of another length."""
        other = copy.copy(self)
        other.prompt_length = prompt_length
        return other

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Block followers of a copied run.

        Args:
            input_ids: (B, L) int64, prompt first.
            scores: (B, V) logits or log-probabilities; left as they are.

        Returns:
            (B, V) scores with -inf where a token would continue a copied run and another is left.
        """
        if input_ids.shape[1] - self.prompt_length < self.match:
            return scores
        if self._table.hashes_G.device != scores.device:
            self._table = self._table.to(scores.device)
        table = self._table
        recent_BW = input_ids[:, -self.match :]
        # (B,) hashes; int64 wraps around here as in the table. `searchsorted` gives the place where
        # a hash would stand, and comparing the tokens decides whether it does.
        hash_B = (recent_BW * table.weights_W).sum(dim=1)
        at_B = torch.searchsorted(table.hashes_G, hash_B).clamp_(max=table.hashes_G.numel() - 1)
        hit_B = (table.grams_GW[at_B] == recent_BW).all(dim=1)
        # 0 followers for a row without a match, so that it blocks nothing.
        count_B = table.count_G[at_B] * hit_B
        # Rows have different numbers of followers. All get K slots, and a slot that a row does not
        # use takes the minimum with +inf: no size depends on the data, so nothing synchronises.
        slot_BK = (table.first_G[at_B, None] + table.steps_K).clamp_(
            max=table.followers_E.numel() - 1
        )
        used_BK = table.steps_K < count_B[:, None]
        ceiling_BK = torch.where(used_BK, -torch.inf, torch.inf).to(scores.dtype)
        blocked = scores.scatter_reduce(1, table.followers_E[slot_BK], ceiling_BK, "amin")
        # A row in which everything is -inf has no token left; it keeps the scores it came with.
        return blocked.where(~blocked.isneginf().all(dim=1, keepdim=True), scores)


def _build(sequences: Sequence[np.ndarray], match: int, word_start_V: np.ndarray | None) -> _Table:
    flat = flatten(sequences)
    # Where a W-gram begins, and which of these have a token after them in the same sequence.
    starts_M = np.flatnonzero(flat.left_N >= match)
    followed_M = flat.left_N[starts_M] > match
    if not followed_M.any():
        raise UserError(
            expected=f"a training sequence longer than the {match} tokens the citation blocker "
            "matches",
            got=f"sequences of at most {flat.lengths_S.max()} tokens",
            fix="match fewer tokens, or leave the blocker out",
        )
    starts_M = starts_M[followed_M]
    gram_M = index_ngrams(sequences, match)[1][-1].ids_M[followed_M]
    follower_M = flat.tokens_N[starts_M + match]
    # Distinct W-grams, the first place of each, and (M,) which one stands at a place.
    gram_G, at_G, gram_M = np.unique(gram_M, return_index=True, return_inverse=True)
    grams_GW = flat.tokens_N[starts_M[at_G, None] + np.arange(match)]
    blocked_M = np.ones(gram_M.size, bool) if word_start_V is None else word_start_V[follower_M]
    base = int(follower_M.max()) + 1
    # Distinct (W-gram, follower) pairs, each in one int64, ascending: so the followers of a W-gram
    # lie next to each other, and `first_G` and `count_G` find them.
    gram_E, followers_E = np.divmod(np.unique((gram_M * base + follower_M)[blocked_M]), base)
    count_G = np.bincount(gram_E, minlength=gram_G.size)
    weights_W, hashes_G = _distinct_hashes(grams_GW)
    # `searchsorted` needs ascending hashes; `followers_E` keeps its own order.
    order = np.argsort(hashes_G)
    return _Table(
        weights_W=torch.from_numpy(weights_W),
        hashes_G=torch.from_numpy(hashes_G[order]),
        grams_GW=torch.from_numpy(grams_GW[order]),
        first_G=torch.from_numpy((np.cumsum(count_G) - count_G)[order]),
        count_G=torch.from_numpy(count_G[order]),
        followers_E=torch.from_numpy(followers_E),
        steps_K=torch.arange(int(count_G.max())),
    )


def _distinct_hashes(grams_GW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights under which no two W-grams share a hash, so that one comparison decides a match.

    64 random bits collide with probability below 1e-6 for a million W-grams; drawn again if so.
    """
    rng = np.random.default_rng(0)
    limits = np.iinfo(np.int64)
    while True:
        weights_W = rng.integers(limits.min, limits.max, size=grams_GW.shape[1])
        hashes_G = (grams_GW * weights_W).sum(axis=1)  # wraps around, as torch does
        if np.unique(hashes_G).size == hashes_G.size:
            return weights_W, hashes_G
