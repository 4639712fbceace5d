"""Bradley-Terry strengths against direct maximisation of the likelihood."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks.preference.bradley_terry import bradley_terry, log_strengths, remarks

NAMES = ["human", "greedy", "hyperfitted", "sampled"]


def by_likelihood(wins_KK: np.ndarray) -> np.ndarray:
    """Log strengths relative to contender 0 that maximise the log likelihood."""

    def negative(free: np.ndarray) -> float:
        theta = np.concatenate([[0.0], free])
        return float((wins_KK * np.logaddexp(0, theta[None, :] - theta[:, None])).sum())

    found = minimize(negative, np.zeros(len(wins_KK) - 1), method="BFGS", options={"gtol": 1e-9})
    return np.concatenate([[0.0], found.x])


def items(games: list[tuple[int, int, float]], contenders: int) -> np.ndarray:
    """(I, K, K): one game (i, j, result of i) per item."""
    wins_IKK = np.zeros((len(games), contenders, contenders))
    for number, (i, j, result) in enumerate(games):
        wins_IKK[number, i, j] = result
        wins_IKK[number, j, i] = 1 - result
    return wins_IKK


def test_strengths_against_scipy() -> None:
    rng = np.random.default_rng(5)
    for contenders in (2, 3, 5):
        wins_KK = rng.integers(1, 12, size=(contenders, contenders)) / 2
        np.fill_diagonal(wins_KK, 0)
        found = log_strengths(wins_KK[None], anchor=0)[0]
        assert found == pytest.approx(by_likelihood(wins_KK), abs=1e-5)


def test_two_contenders_against_the_closed_form() -> None:
    wins_KK = np.array([[0, 7.5], [2.5, 0]])
    assert log_strengths(wins_KK[None], anchor=1)[0] == pytest.approx([np.log(3), 0])


def test_who_lost_or_won_everything_has_no_finite_strength_and_moves_nobody() -> None:
    among = [(0, 2, 1.0)] * 4 + [(0, 2, 0.0)] * 2
    games = [*among, (0, 1, 1.0), (2, 1, 1.0), (3, 0, 1.0), (3, 1, 1.0)]
    strengths = bradley_terry(items(games, 4), NAMES, anchor=0, resamples=50)
    assert [(s.contender, s.place) for s in strengths] == [
        ("sampled", "above"),
        ("human", "finite"),
        ("hyperfitted", "finite"),
        ("greedy", "below"),
    ]
    best, _, hyperfitted, worst = strengths
    assert hyperfitted.log_strength == pytest.approx(np.log(2 / 4))
    assert (best.preferred_to_anchor, worst.preferred_to_anchor) == (1, 0)
    assert best.log_strength is None and worst.low is None
    made = remarks(strengths, "human")
    assert made[0].startswith("sampled never lost") and made[1].startswith("greedy never won")


def test_who_never_met_the_others_is_reported() -> None:
    games = [(0, 1, 1.0), (0, 1, 0.0), (2, 3, 0.5)]
    strengths = bradley_terry(items(games, 4), NAMES, anchor=0, resamples=50)
    assert {s.contender for s in strengths if s.place == "unconnected"} == {
        "hyperfitted",
        "sampled",
    }
    assert all(s.preferred_to_anchor is None for s in strengths[2:])
    assert "cannot be placed" in remarks(strengths, "human")[0]


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    truth, covered = np.log(2), 0
    for seed in range(60):
        games = [(1, 0, float(won)) for won in rng.random(80) < 2 / 3]
        found = bradley_terry(items(games, 2), NAMES[:2], anchor=0, resamples=200, seed=seed)
        greedy = next(s for s in found if s.contender == "greedy")
        assert greedy.low is not None and greedy.high is not None
        covered += greedy.low <= truth <= greedy.high
    assert 51 <= covered <= 60  # 95 % of 60 is 57


def test_the_interval_is_open_where_resamples_have_no_finite_strength() -> None:
    games = [(1, 0, 0.0)] * 12 + [(1, 0, 0.5)]
    greedy = bradley_terry(items(games, 2), NAMES[:2], anchor=0)[1]
    assert greedy.log_strength == pytest.approx(np.log(0.5 / 12.5))
    assert greedy.low is None  # more than a third of resamples miss the only tie
    assert greedy.high is not None and greedy.high < 0


def test_votes_on_one_item_are_resampled_together() -> None:
    all_items = items([(1, 0, 1.0)] * 10 + [(1, 0, 0.0)] * 10, 2)

    def width(wins_IKK: np.ndarray) -> float:
        found = bradley_terry(wins_IKK, NAMES[:2], anchor=0)
        greedy = next(s for s in found if s.contender == "greedy")
        assert greedy.low is not None and greedy.high is not None
        return greedy.high - greedy.low

    assert width(all_items) > 1
    # Nine votes alike on an item are as much evidence as one.
    assert width(9 * all_items) == pytest.approx(width(all_items))
    assert width(np.repeat(all_items, 9, axis=0)) < 0.6 * width(all_items)
