"""Diversity measures against counting in plain Python."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from common.measure.bleu import dataset_bleu, self_bleu
from common.measure.diversity import (
    TrainingStatistics,
    compression_ratio,
    distinct_interval,
    distinct_n,
    diversity_metrics,
    repetition,
    type_token_ratio,
)
from common.measure.intervals import bootstrap_mean, jackknife

EMPTY = np.zeros(0, np.int64)


def random_batch(seed: int, sequences: int, alphabet: int, longest: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(alphabet, size=rng.integers(0, longest)) for _ in range(sequences)]


def grams(text: np.ndarray, n: int) -> list[tuple[int, ...]]:
    return [tuple(text[i : i + n].tolist()) for i in range(len(text) - n + 1)]


def naive_distinct(texts: list[np.ndarray], n: int) -> float:
    every = [gram for text in texts for gram in grams(text, n)]
    return len(set(every)) / len(every)


def test_type_token_ratio_looks_at_the_last_window() -> None:
    text = np.array([1, 2, 3, 4, 7, 7, 7, 8])
    assert type_token_ratio(text, window=4) == 2 / 4
    assert type_token_ratio(text) == 6 / 8
    assert type_token_ratio(np.tile(np.arange(200), 2)) == 1.0
    assert type_token_ratio(EMPTY) == 0.0


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_repetition_against_sets(n: int) -> None:
    for text in random_batch(n, 30, 3):
        every = grams(text, n)
        expected = 1 - len(set(every)) / len(every) if every else 0.0
        assert repetition(text, n) == pytest.approx(expected)
    assert repetition(np.zeros(10, np.int64), n) == pytest.approx(1 - 1 / (11 - n))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_distinct_and_its_jackknife_against_sets(n: int) -> None:
    texts = [EMPTY, *random_batch(n, 12, 4)]
    value = naive_distinct(texts, n)
    left = [naive_distinct(texts[:i] + texts[i + 1 :], n) for i in range(len(texts))]
    assert distinct_n(texts, n) == pytest.approx(value)
    ours, expected = distinct_interval(texts, n), jackknife(value, left)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high))
    assert distinct_n([EMPTY], n) == 0.0


def test_compression_ratio_is_raw_over_deflated_bytes() -> None:
    text = np.random.default_rng(0).integers(8000, size=96)
    raw = b"".join(int(token).to_bytes(4, "little") for token in text)
    # A zlib stream is the raw deflate stream with 2 bytes before and a checksum of 4 after it.
    assert compression_ratio(text) == pytest.approx(len(raw) / (len(zlib.compress(raw, 9)) - 6))
    assert compression_ratio(np.tile(text[:4], 24)) > 3 * compression_ratio(text)
    assert compression_ratio(EMPTY) == 0.0


def test_metrics_are_the_single_measures_showns() -> None:
    rng = np.random.default_rng(0)
    training = [rng.integers(300, size=60) for _ in range(20)]
    texts = [rng.integers(300, size=50) for _ in range(8)]
    texts[2][10:25] = training[3][5:20]
    texts[5][:12] = training[0][:12]
    texts[7][:] = 4
    metrics = diversity_metrics(
        texts, TrainingStatistics(training), window=30, ttr_name="ttr_30", seed=5
    )

    def copied(text: np.ndarray) -> int:
        known = {
            tuple(one[i : i + n].tolist())
            for one in training
            for n in range(1, 61)
            for i in range(61 - n)
        }
        return max(n for n in range(51) if n == 0 or known & set(grams(text, n)))

    longest = [copied(text) for text in texts]
    expected = {
        "ttr_30": [type_token_ratio(text, 30) for text in texts],
        "rep_2": [repetition(text, 2) for text in texts],
        "rep_3": [repetition(text, 3) for text in texts],
        "rep_4": [repetition(text, 4) for text in texts],
        "self_bleu_4": self_bleu(texts),
        "dataset_bleu_4": dataset_bleu(texts, training),
        "dataset_bleu_4_no_bp": dataset_bleu(texts, training, brevity_penalty=False),
        "compression_ratio": [compression_ratio(text) for text in texts],
        "overlap_tokens": longest,
        "overlap_over_10": [n > 10 for n in longest],
    }
    for name, values in expected.items():
        assert metrics[name] == bootstrap_mean(values, seed=5), name
    assert metrics["overlap_over_10"].mean == 2 / 8
    assert (metrics["overlap_max"].mean, metrics["overlap_max"].low) == (max(longest), None)
    for n in (2, 3):
        assert metrics[f"distinct_{n}"] == distinct_interval(texts, n)
    assert metrics.keys() == {*expected, "overlap_max", "distinct_2", "distinct_3"}
