"""Exact n-gram identities over ragged batches of token ids.

Counting n-grams by hashes is fast, but a collision would silently change a published number. Here
every n-gram gets an integer by ranking: a token is replaced by its rank among the tokens seen, and
an n-gram by the rank of the pair (its first n - 1 tokens, its last token). A pair of ranks fits an
int64 without loss, so two n-grams share an id exactly if they are equal.

Shapes: S sequences, N tokens of all sequences together, M n-grams of one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Flat:
    """A ragged batch, concatenated without padding.

    Attributes:
        tokens_N: int64 token ids.
        owner_N: index of the sequence of a token.
        left_N: tokens from this one to the end of its sequence, itself included.
        lengths_S: length of each sequence; may be 0.
    """

    tokens_N: np.ndarray
    owner_N: np.ndarray
    left_N: np.ndarray
    lengths_S: np.ndarray


def flatten(sequences: Sequence[np.ndarray]) -> Flat:
    """Concatenate sequences.

    Raises:
        ValueError: there is no sequence.
    """
    if len(sequences) == 0:
        raise ValueError("expected at least one token sequence; got none")
    lengths_S = np.array([len(one) for one in sequences], dtype=np.int64)
    tokens_N = np.concatenate(sequences).astype(np.int64, copy=False)
    owner_N = np.repeat(np.arange(len(sequences)), lengths_S)
    ends_S = np.cumsum(lengths_S)
    left_N = ends_S[owner_N] - np.arange(tokens_N.size)
    return Flat(tokens_N, owner_N, left_N, lengths_S)


def find(sorted_keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Index of each value in an ascending array of distinct keys, -1 where it is not there."""
    if sorted_keys.size == 0:
        return np.full(values.shape, -1, dtype=np.int64)
    at = np.searchsorted(sorted_keys, values)
    at[at == sorted_keys.size] = 0
    return np.where(sorted_keys[at] == values, at, -1)


@dataclass(frozen=True)
class Occurrences:
    """All n-grams of one order in a batch, in reading order.

    Attributes:
        ids_M: id of the n-gram in its index, -1 if the index does not have it.
        owner_M: index of its sequence.
        totals_S: n-grams per sequence, max(0, length - n + 1).
    """

    ids_M: np.ndarray
    owner_M: np.ndarray
    totals_S: np.ndarray


class NgramIndex:
    """Ids of the n-grams of some sequences; made by `index_ngrams`.

    Args:
        keys: per order, the ascending keys of its n-grams: a token for order 1, beyond that
            id of the first n - 1 tokens * number of different tokens + id of the last token.

    Attributes:
        sizes: how many different n-grams there are, `sizes[n - 1]` of order n.
    """

    def __init__(self, keys: list[np.ndarray]) -> None:
        self._keys = keys
        self.sizes = [one.size for one in keys]

    def occurrences(self, sequences: Sequence[np.ndarray]) -> list[Occurrences]:
        """The n-grams of any batch, known to the index or not; order n at place n - 1.

        Raises:
            ValueError: no sequences.
        """
        flat = flatten(sequences)
        last_N = find(self._keys[0], flat.tokens_N)
        found = [Occurrences(last_N, flat.owner_N, flat.lengths_S)]
        for n in range(2, len(self._keys) + 1):
            key_M, starts_M = _extend(flat, found[-1].ids_M, last_N, self._keys[0].size, n)
            ids_M = find(self._keys[n - 1], key_M)
            found.append(Occurrences(ids_M, flat.owner_N[starts_M], _totals(flat, n)))
        return found


def index_ngrams(
    sequences: Sequence[np.ndarray], max_n: int
) -> tuple[NgramIndex, list[Occurrences]]:
    """Index the n-grams of order 1 to `max_n`, with their occurrences in these sequences.

    Args:
        sequences: S arrays of int64 token ids.
        max_n: highest order, at least 1.

    Returns:
        The index, and the result of its `occurrences` for the same sequences.

    Raises:
        ValueError: no sequences.
    """
    assert max_n >= 1
    flat = flatten(sequences)
    tokens, last_N = np.unique(flat.tokens_N, return_inverse=True)
    keys, found = [tokens], [Occurrences(last_N, flat.owner_N, flat.lengths_S)]
    for n in range(2, max_n + 1):
        key_M, starts_M = _extend(flat, found[-1].ids_M, last_N, tokens.size, n)
        unique, ids_M = np.unique(key_M, return_inverse=True)
        keys.append(unique)
        found.append(Occurrences(ids_M, flat.owner_N[starts_M], _totals(flat, n)))
    return NgramIndex(keys), found


def distinct_per_sequence(found: Occurrences) -> np.ndarray:
    """(S,) number of different n-grams in each sequence."""
    sequences = found.totals_S.size
    pairs = np.unique(found.ids_M * sequences + found.owner_M)
    return np.bincount(pairs % sequences, minlength=sequences)


def _extend(
    flat: Flat, prefix_ids: np.ndarray, last_N: np.ndarray, tokens: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Keys of the order-n n-grams, -1 if a part is unknown, and where they start.

    `prefix_ids` holds one id per (n - 1)-gram in reading order, `last_N` one per token.
    """
    starts_M = np.flatnonzero(flat.left_N >= n)
    prefix_M = prefix_ids[flat.left_N[flat.left_N >= n - 1] >= n]
    last_M = last_N[starts_M + n - 1]
    return np.where((prefix_M >= 0) & (last_M >= 0), prefix_M * tokens + last_M, -1), starts_M


def _totals(flat: Flat, n: int) -> np.ndarray:
    """(S,) number of order-n n-grams per sequence."""
    return np.maximum(flat.lengths_S - n + 1, 0)
