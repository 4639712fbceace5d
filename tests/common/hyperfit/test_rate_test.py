"""The rule of the range test on synthetic curves, and the test on simulated models."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from common.errors import UserError
from common.hyperfit.rate_test import (
    BATCHES,
    DESCENT_SHARE,
    EDGE_FRACTION,
    FAR_BELOW,
    FAR_BELOW_STEPS,
    HIGHEST_RATE,
    LOWEST_RATE,
    PER_DECADE,
    RateCurve,
    choose_rate,
    rates,
    run_rate_test,
    smoothed,
)


class Descent:
    """Loss of batches that differ by far more than a few updates bring.

    Each update lowers the common part by `best` * (rate / edge) ** 0.25 nats up to `edge`, and
    raises it by a share beyond: as AdamW does, whose descent slows down less than its rate.
    """

    def __init__(self, *, edge: float, best: float = 0.06, first: float = 4.0) -> None:
        self.edge, self.best, self.level, self.first = edge, best, 0.0, first
        self.tried: list[float] = []

    def before(self) -> list[float]:
        return [self.first + math.sin(7 * batch) for batch in range(BATCHES)]

    def __call__(self, batch: int, rate: float) -> float:
        loss = self.before()[batch] + self.level
        self.tried.append(rate)
        self.level += -self.best * (rate / self.edge) ** 0.25 if rate <= self.edge else 0.4
        return loss


def chosen(update: Any) -> float:
    return choose_rate(run_rate_test(update, update.before()))[0]


def curve(changes: list[float | None], first: float = 4.0) -> RateCurve:
    return RateCurve(learning_rates=rates()[: len(changes)], changes_nats=changes, first_loss=first)


def test_rates_rise_by_one_factor() -> None:
    every = rates()
    assert (every[0], every[-1]) == (LOWEST_RATE, pytest.approx(HIGHEST_RATE))
    factors = [after / before for before, after in pairwise(every)]
    assert factors == pytest.approx([10 ** (1 / PER_DECADE)] * len(factors))


@pytest.mark.parametrize("edge", [2e-4, 3e-3, 2e-2])
def test_a_slow_learner_gets_a_rate_safely_below_the_edge(edge: float) -> None:
    descent = Descent(edge=edge, best=0.015)
    rate = chosen(descent)
    assert edge / 15 < rate < edge / 3
    assert (rate / edge) ** 0.25 > 0.5  # of the best speed
    assert max(descent.tried) < 10 * edge  # it stops when the loss rises


@pytest.mark.parametrize("best", [0.05, 0.1])
def test_a_fast_learner_gets_the_rate_that_is_fast_enough(best: float) -> None:
    edge, first = 1e-2, 4.0
    rate = chosen(descent := Descent(edge=edge, best=best, first=first))
    fallen, exact = 0.0, 0.0
    for exact in descent.tried:
        fallen += best * (exact / edge) ** 0.25
        if fallen >= DESCENT_SHARE * first:
            break
    assert rate == pytest.approx(exact, rel=0.5)  # the batches do not have one mean loss
    assert rate < EDGE_FRACTION * edge / 5


def test_the_faster_a_model_learns_the_lower_its_rate() -> None:
    found = [chosen(Descent(edge=1e-2, best=best)) for best in (0.02, 0.05, 0.1)]
    assert found == sorted(found, reverse=True) and found[0] > 3 * found[2]


def test_the_rate_goes_with_the_edge() -> None:
    low, high = (chosen(Descent(edge=edge, best=0.015)) for edge in (1e-4, 1e-2))
    assert high / low == pytest.approx(100, rel=0.3)


def test_batches_that_differ_do_not_blur_the_curve() -> None:
    descent = Descent(edge=1e-2)
    found = run_rate_test(descent, descent.before())
    falling = [c for c in found.changes_nats if c is not None][: 3 * PER_DECADE]
    assert falling[0] == 0 and falling == sorted(falling, reverse=True)


def test_smoothing_keeps_lines_and_extrema_where_they_are() -> None:
    line = [0.3 * step - 2 for step in range(20)]
    assert smoothed(line) == pytest.approx(line)
    peak = [-abs(step - 9.0) for step in range(20)]
    assert max(range(20), key=smoothed(peak).__getitem__) == 9
    assert smoothed([]) == [] and smoothed([2.0]) == [2.0]


def test_one_odd_batch_ends_nothing() -> None:
    descent = Descent(edge=1e-2)

    def odd(batch: int, rate: float) -> float:
        return descent(batch, rate) + (5.0 if len(descent.tried) == 20 else 0.0)

    assert len(run_rate_test(odd, descent.before()).changes_nats) > 23


def test_nan_ends_the_test_and_not_the_choice() -> None:
    descent = Descent(edge=1e-3, best=0.015)

    def breaks(batch: int, rate: float) -> float:
        return math.nan if rate > 2e-3 else descent(batch, rate)

    found = run_rate_test(breaks, descent.before())
    assert found.changes_nats[-1] is None and None not in found.changes_nats[:-1]
    assert 5e-5 < choose_rate(found)[0] < 3e-4


def test_a_loss_that_starts_broken_is_told() -> None:
    with pytest.raises(UserError, match="a model with a finite loss on the training set; got nan"):
        run_rate_test(lambda *_: 1.0, [3.0, math.nan])


@pytest.mark.parametrize(
    "changes",
    [
        [None],
        [0.0, None],
        [0.0, 0.5, 1.5, 2.5, 3.5],
        [0.0, -0.5, None],
        [0.0, -1.0, -1.1, 1.5, 2.5, 3.5],
    ],
)
def test_immediate_divergence_is_told(changes: list[float | None]) -> None:
    with pytest.raises(UserError, match=r"every one is too high; .*give schedule\.learning_rate a"):
        choose_rate(curve(changes))


def test_a_flat_curve_is_told() -> None:
    with pytest.raises(UserError, match="every one leaves the loss as it is"):
        choose_rate(curve([0.0] * len(rates())))


@pytest.mark.parametrize("ending", [[1.0, 2.0, 3.0, 4.0], [None]])
def test_a_model_at_its_target_gets_a_rate_that_is_harmless(ending: list[float | None]) -> None:
    calm: list[float | None] = [0.0] * (3 * PER_DECADE)
    rate, why = choose_rate(curve([*calm, *ending], first=0.04))
    assert 4e-5 < rate < 3e-4 and "which none lowers" in why  # the calm ends at 1e-3


def test_low_rates_that_do_nothing_are_passed_in_long_steps() -> None:
    still = run_rate_test(lambda *_: 4.0, [4.0] * BATCHES).learning_rates
    low = [rate for rate in still if rate < FAR_BELOW]
    assert low == rates()[: len(low) * FAR_BELOW_STEPS : FAR_BELOW_STEPS]
    assert still[len(low) :] == rates()[len(low) * FAR_BELOW_STEPS :]
    tried = run_rate_test(descent := Descent(edge=1e-2, best=0.1), descent.before()).learning_rates
    moved = 2  # the first update moves the second batch
    steps = [rates().index(after) - rates().index(before) for before, after in pairwise(tried)]
    assert steps[:moved] == [FAR_BELOW_STEPS, 1] and set(steps[moved:]) == {1}


@pytest.mark.parametrize("edge", [1e-3, 1e-2, 1e-1])
def test_ending_early_changes_no_choice(edge: float, monkeypatch: pytest.MonkeyPatch) -> None:
    short = run_rate_test(descent := Descent(edge=edge, best=0.08), descent.before())
    monkeypatch.setattr("common.hyperfit.rate_test._is_settled", lambda _: False)
    long = run_rate_test(descent := Descent(edge=edge, best=0.08), descent.before())
    assert len(short.changes_nats) < len(long.changes_nats) - PER_DECADE / 2
    assert choose_rate(short) == choose_rate(long)
