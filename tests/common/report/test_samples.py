"""Repetition scores against a naive count, and the joining of tokens into spans."""

from __future__ import annotations

import math
import random

import pytest

from common.report.samples import LEVELS, repetition_scores, spans


def naive_scores(ids: list[int], n: int) -> list[float]:
    scores = []
    for token in range(len(ids)):
        most = 0
        for start in range(max(0, token - n + 1), min(token, len(ids) - n) + 1):
            gram = ids[start : start + n]
            most = max(most, sum(ids[s : s + n] == gram for s in range(start)))
        scores.append(min(1.0, math.log(1 + most) / math.log(9)))
    return scores


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [1, 2, 4])
def test_scores_equal_a_naive_count(seed: int, n: int) -> None:
    rng = random.Random(seed)
    ids = [rng.randrange(3) for _ in range(60)]
    assert repetition_scores(ids, n=n) == pytest.approx(naive_scores(ids, n))


def test_a_loop_grows_darker_and_fresh_text_stays_plain() -> None:
    fresh = list(range(100, 120))
    loop = [1, 2, 3, 4, 5] * 12
    scores = repetition_scores(fresh + loop)
    assert scores[:25] == [0.0] * 25
    assert scores[25:] == sorted(scores[25:])
    assert scores[-1] == 1.0
    assert repetition_scores([1, 2, 3]) == [0.0] * 3


def test_levels_are_the_occurrences_that_the_legend_names() -> None:
    gram = [1, 2, 3, 4]
    ids = [token for i in range(10) for token in (*gram, 100 + i)]
    sample = {
        "pieces": [f"{token} " for token in ids],
        "repetition": repetition_scores(ids),
        "copied": [False] * len(ids),
    }
    levels = [span.level for span in spans(sample) if span.text.startswith("1 2")]
    # The first occurrence is plain and joined with its neighbour; then 2nd, 3rd, ... 10th.
    assert levels == [0, 1, 2, 2, 3, 3, 3, 4, 4, 4]
    assert LEVELS == ("2nd time", "3rd or 4th", "5th to 7th", "8th or later")


def test_spans_keep_the_text_and_mark_copies() -> None:
    sample = {
        "pieces": ["a", " b", " <c>", "\n", "d"],
        "repetition": [0.0, 0.0, 0.5, 0.5, 0.5],
        "copied": [False, True, True, True, False],
    }
    told = [(span.text, span.level, span.copied) for span in spans(sample)]
    assert told == [("a", 0, False), (" b", 0, True), (" <c>\n", 2, True), ("d", 2, False)]


def test_lists_of_different_lengths_are_our_bug() -> None:
    with pytest.raises(ValueError, match="shorter"):
        spans({"pieces": ["a", "b"], "repetition": [0.0], "copied": [False, False]})
