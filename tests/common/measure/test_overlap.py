"""Copied runs against a search through all substrings."""

from __future__ import annotations

import numpy as np
import pytest

from common.measure.overlap import TrainingIndex


def random_batch(seed: int, sequences: int, alphabet: int, longest: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(alphabet, size=rng.integers(1, longest)) * 1000 for _ in range(sequences)]


def naive_runs(text: np.ndarray, training: list[np.ndarray]) -> list[int]:
    """Per token, the longest substring of `text` over it that stands in a training sequence."""
    known = {
        tuple(one[i:j].tolist())
        for one in training
        for i in range(len(one))
        for j in range(i + 1, len(one) + 1)
    }
    runs = [0] * len(text)
    for i in range(len(text)):
        for j in range(i + 1, len(text) + 1):
            if tuple(text[i:j].tolist()) in known:
                runs[i:j] = [max(run, j - i) for run in runs[i:j]]
    return runs


@pytest.mark.parametrize("alphabet", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(4))
def test_against_all_substrings(alphabet: int, seed: int) -> None:
    training = random_batch(seed, 6, alphabet, 20)
    texts = random_batch(seed + 100, 8, alphabet + 1, 35)  # with one token that is unknown
    rng = np.random.default_rng(seed)
    for text in texts[:4]:  # plant a copy of a random part of a training sequence
        source = training[rng.integers(6)]
        part = source[rng.integers(len(source)) :][: len(text)]
        at = rng.integers(len(text) - len(part) + 1)
        text[at : at + len(part)] = part
    index = TrainingIndex(training)
    expected = [naive_runs(text, training) for text in texts]
    assert index.longest_each(texts).tolist() == [max(runs) for runs in expected]
    for text, runs in zip(texts, expected, strict=True):
        assert index.longest_runs(text).tolist() == runs
        assert index.longest(text) == max(runs)
        for min_run in (1, 3, 5):
            assert index.copied_mask(text, min_run).tolist() == [run >= min_run for run in runs]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8, 9, 63, 64, 65])
def test_whole_copies_of_every_length(length: int) -> None:
    whole = np.arange(length) + 10
    index = TrainingIndex([np.array([1, 2]), whole])
    assert index.longest(whole) == length
    assert index.longest(np.concatenate([[5], whole, [10]])) == length
    assert index.longest(np.concatenate([whole, whole])) == length


def test_runs_do_not_cross_training_sequences() -> None:
    index = TrainingIndex([np.array([1, 2, 3]), np.array([4, 5, 6])])
    assert index.longest(np.array([2, 3, 4, 5])) == 2
    assert index.longest(np.array([9, 9])) == 0


def test_empty_inputs() -> None:
    index = TrainingIndex([np.array([1, 2]), np.zeros(0, np.int64)])
    empty = np.zeros(0, np.int64)
    assert index.longest_each([empty, np.array([2])]).tolist() == [0, 1]
    assert index.longest_runs(empty).tolist() == []
    with pytest.raises(ValueError, match="only empty ones"):
        TrainingIndex([empty])
    with pytest.raises(ValueError, match="at least one token sequence"):
        TrainingIndex([])
