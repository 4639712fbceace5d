"""N-gram ids against tuples in Python dictionaries."""

from __future__ import annotations

import numpy as np
import pytest

from common.tools.ngrams import distinct_per_sequence, find, flatten, index_ngrams


def random_batch(seed: int, sequences: int, alphabet: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    # Large ids, so that an id is not by accident its own rank.
    return [rng.integers(alphabet, size=rng.integers(0, 12)) * 50_000 for _ in range(sequences)]


def tuples(batch: list[np.ndarray], n: int) -> list[tuple[int, tuple[int, ...]]]:
    """(owner, n-gram) in reading order."""
    return [
        (owner, tuple(one[i : i + n].tolist()))
        for owner, one in enumerate(batch)
        for i in range(len(one) - n + 1)
    ]


@pytest.mark.parametrize("alphabet", [1, 2, 7])
def test_ids_are_equal_exactly_when_ngrams_are(alphabet: int) -> None:
    batch = random_batch(alphabet, 20, alphabet)
    index, occurrences = index_ngrams(batch, 4)
    for n, found in enumerate(occurrences, start=1):
        expected = tuples(batch, n)
        assert found.owner_M.tolist() == [owner for owner, _ in expected]
        assert found.totals_S.tolist() == [max(0, len(one) - n + 1) for one in batch]
        pairs = set(zip(found.ids_M.tolist(), (gram for _, gram in expected), strict=True))
        assert len(pairs) == len({gram for _, gram in expected}) == index.sizes[n - 1]
        assert {i for i, _ in pairs} == set(range(index.sizes[n - 1]))
        distinct = [len({g for o, g in expected if o == owner}) for owner in range(len(batch))]
        assert distinct_per_sequence(found).tolist() == distinct


def test_occurrences_of_another_batch() -> None:
    known, other = random_batch(1, 15, 3), random_batch(2, 15, 4)
    index, occurrences = index_ngrams(known, 4)
    for n, found in enumerate(index.occurrences(other), start=1):
        grams = (gram for _, gram in tuples(known, n))
        ids = dict(zip(grams, occurrences[n - 1].ids_M.tolist(), strict=True))
        expected = tuples(other, n)
        assert found.ids_M.tolist() == [ids.get(gram, -1) for _, gram in expected]
        assert found.owner_M.tolist() == [owner for owner, _ in expected]
        assert found.totals_S.tolist() == [max(0, len(one) - n + 1) for one in other]


def test_own_occurrences_are_those_of_a_lookup() -> None:
    batch = random_batch(5, 10, 3)
    index, occurrences = index_ngrams(batch, 3)
    for own, looked_up in zip(occurrences, index.occurrences(batch), strict=True):
        np.testing.assert_array_equal(own.ids_M, looked_up.ids_M)
        np.testing.assert_array_equal(own.owner_M, looked_up.owner_M)


def test_batches_without_a_token() -> None:
    empty = [np.zeros(0, np.int64)]
    index, occurrences = index_ngrams(empty, 2)
    assert index.sizes == [0, 0]
    assert [found.totals_S.tolist() for found in occurrences] == [[0], [0]]
    assert index.occurrences([np.array([3, 4])])[1].ids_M.tolist() == [-1]
    with pytest.raises(ValueError, match="at least one token sequence"):
        index_ngrams([], 2)


def test_flatten_and_find() -> None:
    flat = flatten([np.array([5, 6]), np.array([], np.int64), np.array([7])])
    assert flat.tokens_N.tolist() == [5, 6, 7]
    assert flat.owner_N.tolist() == [0, 0, 2]
    assert flat.left_N.tolist() == [2, 1, 1]
    assert flat.lengths_S.tolist() == [2, 0, 1]
    assert find(np.array([2, 4]), np.array([1, 2, 3, 4, 5])).tolist() == [-1, 0, -1, 1, -1]
