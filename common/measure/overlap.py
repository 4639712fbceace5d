"""Lengths of the runs that a text copies verbatim from the training data.

A suffix array over the training tokens is built once by prefix doubling on exact ranks (Karp,
Miller and Rosenberg 1972). For every position of a text it gives the longest match within a single
training sequence. The ranks of all windows of 2**k tokens are kept, so a match grows by powers of
two from the largest down: log2(length) vectorised lookups for all positions at once.

Shapes: N training tokens plus one separator after each sequence, M tokens of the texts, P texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.tools.ngrams import Flat, find, flatten


class TrainingIndex:
    """Longest runs of consecutive tokens that are also consecutive in one training sequence.

    Args:
        sequences: arrays of int64 token ids; a run lies within one of them.

    Raises:
        ValueError: no sequences, or only empty ones.
    """

    def __init__(self, sequences: Sequence[np.ndarray]) -> None:
        flat = flatten(sequences)
        if flat.tokens_N.size == 0:
            raise ValueError("expected training sequences with tokens; got only empty ones")
        # Rank 0 is the separator: smaller than any token and found in no text, so a window that
        # leaves its sequence can never match one that stays inside a text.
        # Each sequence moves to the right by one place per separator before it.
        at_N = np.arange(flat.tokens_N.size) + flat.owner_N
        size = flat.tokens_N.size + len(sequences)
        left_N = np.zeros(size, dtype=np.int64)
        left_N[at_N] = flat.left_N
        # `_keys[k]` holds the distinct windows of 2**k tokens, ascending. The rank of a window is
        # its place there, plus 1 for single tokens, where the separator is no key.
        self._keys = [np.unique(flat.tokens_N)]
        ranks_N = np.zeros(size, dtype=np.int64)
        ranks_N[at_N] = 1 + find(self._keys[0], flat.tokens_N)
        self._ranks: list[np.ndarray] = []  # [k]: rank of the window of 2**k tokens from here
        width = 1
        while True:
            self._ranks.append(ranks_N)
            # Doubling: a window of 2 * width tokens is a pair of ranks, those of its two halves. A
            # second half that begins outside the sequence has rank 0. Ranks are at most `size`,
            # so one int64 holds a pair without loss, and keys sort as the windows do.
            following_N = np.zeros(size, dtype=np.int64)
            inside = np.flatnonzero(left_N > width)
            following_N[inside] = ranks_N[inside + width]
            keys, ranks_N = np.unique(
                ranks_N * (ranks_N.max() + 1) + following_N, return_inverse=True
            )
            width *= 2
            if width > flat.lengths_S.max():
                break
            self._keys.append(keys)
        # Windows of the last width hold whole suffixes, so their ranks sort the suffixes.
        self._suffixes = np.argsort(ranks_N, kind="stable")

    def longest(self, text: np.ndarray) -> int:
        """Length in tokens of the longest run copied from training; 0 if no token occurs there."""
        return int(self.longest_each([text])[0])

    def longest_each(self, texts: Sequence[np.ndarray]) -> np.ndarray:
        """(P,) `longest` of every text, in one pass."""
        flat = flatten(texts)
        longest_P = np.zeros(len(texts), dtype=np.int64)
        np.maximum.at(longest_P, flat.owner_N, self._match_lengths(flat))
        return longest_P

    def longest_runs(self, text: np.ndarray) -> np.ndarray:
        """(len(text),) for each token, the length of the longest copied run that covers it."""
        # (len(text),) length of the longest run that starts at each token.
        starts = self._match_lengths(flatten([text]))
        runs = np.zeros(len(text), dtype=np.int64)
        for start in np.argsort(starts, kind="stable"):  # longer runs overwrite shorter ones
            runs[start : start + starts[start]] = starts[start]
        return runs

    def copied_mask(self, text: np.ndarray, min_run: int) -> np.ndarray:
        """(len(text),) bool: tokens inside a copied run of at least `min_run` (>= 1) tokens."""
        return self.longest_runs(text) >= min_run

    def _match_lengths(self, texts: Flat) -> np.ndarray:
        """(M,) length of the longest copied run that starts at each token."""
        wanted = self._text_ranks(texts)
        depth_M = np.zeros(texts.tokens_N.size, dtype=np.int64)
        low_M = np.zeros(depth_M.size, dtype=np.int64)
        high_M = np.full(depth_M.size, self._suffixes.size)
        # A match is shorter than 2**len(ranks) tokens, so its length is a sum of distinct powers of
        # two. From the largest down, a match grows by 2**k tokens where training continues with
        # them. [low, high) are the suffixes that begin with the `depth` tokens matched so far.
        for k in reversed(range(len(self._ranks))):
            at = np.flatnonzero(texts.left_N > depth_M)
            goal = wanted[k][at + depth_M[at]]
            # Rank -1 means that these 2**k tokens occur nowhere in training.
            at, goal = at[goal >= 0], goal[goal >= 0]
            # Suffixes that agree so far are contiguous and sorted by the rank of what follows.
            low = self._bisect(k, goal, depth_M[at], low_M[at], high_M[at])
            high = self._bisect(k, goal + 1, depth_M[at], low, high_M[at])
            # An empty range means that they occur there, but never after the tokens matched so far.
            grown = low < high
            at = at[grown]
            low_M[at], high_M[at] = low[grown], high[grown]
            depth_M[at] += 1 << k
        return depth_M

    def _text_ranks(self, texts: Flat) -> list[np.ndarray]:
        """(M,) training ranks of the texts' windows, [k] for 2**k tokens.

        -1 where training lacks the window or it would leave its text.
        """
        token_M = find(self._keys[0], texts.tokens_N)
        wanted = [np.where(token_M >= 0, token_M + 1, -1)]
        for k in range(1, len(self._ranks)):
            half = 1 << (k - 1)
            first_M = wanted[-1]
            # The same pairs of ranks as in the constructor, looked up in its keys.
            second_M = np.full(first_M.size, -1)
            inside = np.flatnonzero(texts.left_N > half)
            second_M[inside] = first_M[inside + half]
            key_M = first_M * (int(self._ranks[k - 1].max()) + 1) + second_M
            known = (first_M >= 0) & (second_M >= 0)
            wanted.append(np.where(known, find(self._keys[k], key_M), -1))
        return wanted

    def _bisect(
        self, k: int, goal: np.ndarray, depth: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """First place in each [low, high) whose rank of 2**k tokens at `depth` is >= goal."""
        # All binary searches advance together: log2(suffixes) passes over those still open.
        low, high = low.copy(), high.copy()
        while (open_ := np.flatnonzero(low < high)).size:
            middle = (low[open_] + high[open_]) // 2
            less = self._ranks[k][self._suffixes[middle] + depth[open_]] < goal[open_]
            low[open_[less]] = middle[less] + 1
            high[open_[~less]] = middle[~less]
        return low
