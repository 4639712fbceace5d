"""The scheduler on simulated losses, where the right decision is known, and on a real optimizer."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from common.errors import UserError
from common.hyperfit.goal import NATS_PER_WRONG_TOKEN
from common.hyperfit.loss_to_zero import Action, LossToZero
from common.hyperfit.options import ScheduleOptions


def loss_to_zero(
    *, learning_rate: Any = 1.0, max_updates: int = 100, pass_every: int = 20, **options: Any
) -> LossToZero:
    """A schedule with a knee far above the target, which gives the simulations time to settle."""
    settling = {
        "target_loss": 0.05,
        "pass_margin": 1.5,
        "knee": 0.2,
        "min_rate_factor": 0.1,
    }
    return LossToZero(
        ScheduleOptions(**settling | options, pass_every=pass_every),
        learning_rate=learning_rate,
        max_updates=max_updates,
        updates_per_epoch=40,
    )


def drive(
    schedule: LossToZero,
    loss_of: Callable[[float], float],
    *,
    full_loss: Callable[[], float] | None = None,
) -> list[float]:
    """Run to the end, one loss at a time; a restore goes back to the update before."""
    losses: list[float] = []
    while schedule.outcome is None:
        losses.append(loss_of(schedule.rate))
        action = schedule.observe(losses[-1:])
        if action is Action.FULL_PASS:
            action = schedule.full_pass(full_loss() if full_loss else losses[-1])
        if action is Action.RESTORE:
            schedule.restored(schedule.update - 1)
    return losses


class Rattling:
    """Loss that decays at a speed proportional to the rate, to a floor proportional to the rate."""

    def __init__(self, *, floor_per_rate: float, seed: int = 0) -> None:
        self.level, self.floor_per_rate = 4.0, floor_per_rate
        self.random = random.Random(seed)

    def __call__(self, rate: float) -> float:
        floor = self.floor_per_rate * rate
        self.level = floor + (self.level - floor) * math.exp(-0.02 * rate)
        return self.level * math.exp(self.random.gauss(0, 0.15))


def decay(half_life: float, *, start: float = 4.0, noise: float = 0.05) -> Callable[[float], float]:
    """Loss that halves every `half_life` updates, whatever the rate."""
    state, draw = {"update": 0}, random.Random(1)

    def loss(rate: float) -> float:
        state["update"] += 1
        return start * 0.5 ** (state["update"] / half_life) * math.exp(draw.gauss(0, noise))

    return loss


@pytest.mark.parametrize("floor", [0.1, 0.15, 0.4])
def test_settles_where_a_constant_rate_rattles_above_the_target(floor: float) -> None:
    constant = Rattling(floor_per_rate=floor)
    assert min(constant(1.0) and constant.level for _ in range(5000)) > 0.05
    simulated = Rattling(floor_per_rate=floor)
    schedule = loss_to_zero(learning_rate=1.0, max_updates=5000)
    drive(schedule, simulated, full_loss=lambda: simulated.level)
    assert schedule.outcome == "reached"
    assert simulated.level <= 0.05
    assert schedule.phase == "done"
    assert schedule.update < 5000


def test_settling_rate_never_rises_and_has_its_bound() -> None:
    schedule = loss_to_zero(
        learning_rate=1.0, max_updates=600, target_loss=0.001, knee=1.0, min_rate_factor=0.2
    )
    rates, loss = [], decay(40, noise=0.3)
    while schedule.phase != "done":
        action = schedule.observe([loss(schedule.rate)])
        if action is Action.FULL_PASS:
            schedule.full_pass(1.0)
        if schedule.phase == "settle":
            rates.append(schedule.rate)
        elif schedule.phase == "descend":
            assert schedule.rate == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.5
    assert rates[-1] == pytest.approx(0.2)


def test_only_passes_held_in_a_row_and_apart_end_the_run() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=500, hold=2, pass_every=10)
    answers, asked = iter([0.06, 0.04, 0.07, 0.05, 0.03]), []
    action = Action.CONTINUE
    while action is not Action.STOP:
        action = schedule.observe([0.04])
        if action is Action.FULL_PASS:
            asked.append(schedule.update)
            action = schedule.full_pass(next(answers))
    assert asked == [1, 11, 21, 31, 41]
    assert (schedule.outcome, schedule.held, schedule.final_loss) == ("reached", 2, 0.03)


def test_an_accuracy_ends_the_run_whatever_the_loss() -> None:
    schedule = loss_to_zero(learning_rate=1.0, pass_every=10, target_accuracy=0.95)
    answers, asked = iter([(0.01, 0.94), (0.3, 0.96), (0.01, 0.9), (0.2, 0.95), (0.2, 1.0)]), []
    action = Action.CONTINUE
    while action is not Action.STOP:
        action = schedule.observe([0.3], [0.95])
        if action is Action.FULL_PASS:
            asked.append(schedule.update)
            action = schedule.full_pass(*next(answers))
    assert asked == [1, 11, 21, 31, 41]
    assert (schedule.outcome, schedule.held) == ("reached", 2)
    assert (schedule.final_loss, schedule.final_accuracy) == (0.2, 1.0)
    assert schedule.message == (
        "reached: accuracy 1.0000 on the training set (target 0.95), training loss 0.2, held for 2 "
        "full passes"
    )


@pytest.mark.parametrize(
    ("target", "accuracy", "due"),
    [(0.95, 0.94, True), (0.95, 0.93, False), (1.0, 0.996, True), (1.0, 0.99, False)],
)
def test_an_accuracy_near_its_target_asks_for_a_full_pass(
    target: float, accuracy: float, due: bool
) -> None:
    options = {"target_accuracy": target, "pass_margin": 1.2}
    for loss in (0.001, 3.0):  # whatever the loss
        action = loss_to_zero(**options).observe([loss] * 4, [accuracy] * 4)
        assert action is (Action.FULL_PASS if due else Action.CONTINUE)


def test_without_batch_accuracies_the_loss_asks_for_the_pass_of_an_accuracy() -> None:
    schedule = loss_to_zero(target_accuracy=0.95, max_updates=400, pass_every=1)
    loss = decay(20, noise=0.0)
    action = Action.CONTINUE
    while action is Action.CONTINUE:
        action = schedule.observe([loss(1.0)])
    assert action is Action.FULL_PASS
    assert schedule.smoothed_loss == pytest.approx(NATS_PER_WRONG_TOKEN * 0.08, rel=0.1)
    with pytest.raises(UserError, match=r"call full_pass\(loss, accuracy\)"):
        schedule.full_pass(0.1)
    assert schedule.full_pass(0.1, 0.9) is Action.CONTINUE


def test_accuracy_is_kept_without_being_a_target() -> None:
    schedule = loss_to_zero(max_updates=3)
    assert schedule.observe([3.0] * 3, [0.1] * 3) is Action.FULL_PASS
    assert schedule.final_accuracy is None
    schedule.full_pass(2.9, 0.12)
    assert schedule.final_accuracy == 0.12 and schedule.outcome == "budget_exhausted"
    with pytest.raises(ValueError, match="zip"):
        loss_to_zero().observe([3.0, 3.0], [0.1])


def test_an_accuracy_of_lost_weights_is_forgotten() -> None:
    schedule = loss_to_zero(target_accuracy=0.9)
    schedule.observe([0.2], [0.95])
    schedule.full_pass(0.2, 0.85)
    copied = loss_to_zero(target_accuracy=0.9)
    copied.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert copied.final_accuracy == 0.85
    schedule.observe([math.nan], [0.9])
    schedule.restored(0)
    assert schedule.final_accuracy is None and schedule.steps_to_go() is None


def test_forecast_of_an_accuracy() -> None:
    schedule = loss_to_zero(target_accuracy=0.99, max_updates=10_000, knee=0.06)
    wrong = decay(20, start=0.8, noise=0.02)
    for _ in range(60):
        schedule.observe([2.0], [1 - wrong(1.0)])
    left, forecast = 20 * math.log2(0.8 / 0.01) - 60, schedule.steps_to_go()
    assert forecast == pytest.approx(left + 20, rel=0.4)  # and one more pass, 20 updates later


def test_a_found_rate_is_part_of_the_state() -> None:
    schedule = loss_to_zero(learning_rate="auto")
    assert schedule.wants_rate and not loss_to_zero().wants_rate
    schedule.start_at(0.25, "because")
    assert schedule.rate == 0.25 and not schedule.wants_rate
    assert schedule.drain_events() == [{"update": 0, "event": "rate_test", "message": "because"}]
    copied = loss_to_zero(learning_rate="auto")
    copied.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert copied.rate == 0.25 and not copied.wants_rate
    with pytest.raises(UserError, match=r"learning_rate to be a positive number, or auto"):
        loss_to_zero(learning_rate=0.0)


def test_zero_loss_is_accepted() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=100, pass_every=20)
    drive(schedule, lambda rate: 0.0)
    assert (schedule.outcome, schedule.final_loss) == ("reached", 0.0)


def test_low_minibatch_losses_alone_never_end_the_run() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=100, pass_every=20)
    drive(schedule, lambda rate: 0.001, full_loss=lambda: 0.2)
    assert schedule.outcome == "budget_exhausted"
    assert schedule.update == 100
    assert schedule.final_loss == 0.2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_halves_the_rate_then_gives_up(bad: float) -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=100, max_recoveries=2)
    assert schedule.observe([3.0, bad, 3.0]) is Action.RESTORE
    assert not schedule.healthy
    schedule.restored(0)
    assert (schedule.rate, schedule.update, schedule.recoveries) == (0.5, 0, 1)
    assert schedule.observe([bad]) is Action.RESTORE
    schedule.restored(0)
    assert schedule.rate == 0.25
    assert schedule.observe([3.0]) is Action.CONTINUE
    assert schedule.observe([bad]) is Action.STOP
    assert schedule.outcome == "diverged"
    assert "update 2" in schedule.message and "schedule.learning_rate" in schedule.message
    json.dumps(schedule.state_dict(), allow_nan=False)


def test_nan_in_a_full_pass_is_a_divergence() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=100)
    assert schedule.observe([0.01]) is Action.FULL_PASS
    assert schedule.full_pass(math.nan) is Action.RESTORE
    assert schedule.rate == pytest.approx(0.5 * 0.1)  # halved, and settled to its bound
    assert schedule.final_loss is None


def test_lasting_spike_is_caught_and_named() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=100)
    assert schedule.observe([2.0] * 20) is Action.CONTINUE
    assert schedule.observe([7.0, 7.0]) is Action.CONTINUE
    assert not schedule.healthy
    assert schedule.observe([7.0]) is Action.RESTORE
    schedule.restored(20)
    assert schedule.healthy
    assert [event["event"] for event in schedule.drain_events()] == ["spike", "restore"]
    assert schedule.drain_events() == []
    assert schedule.smoothed_loss == pytest.approx(2.0)
    assert schedule.observe([7.0] * 3) is Action.RESTORE  # the reference survives the restore


def test_slow_divergence_is_caught() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=1000)
    assert schedule.observe([2.0] * 20) is Action.CONTINUE
    climbing = [2.0 + 0.03 * update for update in range(150)]
    assert Action.RESTORE in [schedule.observe(climbing)]


@pytest.mark.parametrize("seed", range(5))
def test_ordinary_noise_is_no_spike(seed: int) -> None:
    draw = random.Random(seed)
    near_zero = [0.02 * 4 ** draw.choice([0, 0, 1]) for _ in range(400)]
    high = [draw.gauss(3.5, 0.6) for _ in range(400)]
    one_odd_batch = [0.05] * 50 + [4.0] + [0.05] * 50
    for losses in (near_zero, high, one_odd_batch):
        schedule = loss_to_zero(learning_rate=1.0, max_updates=1000, target_loss=0.001)
        assert schedule.observe(losses) is Action.CONTINUE
        assert schedule.recoveries == 0
    assert schedule.smoothed_loss == pytest.approx(0.05, rel=0.1)


def test_too_small_a_rate_is_raised_within_its_bound() -> None:
    schedule = loss_to_zero(
        learning_rate=1.0, max_updates=3000, patience=50, growth=2.0, max_rate_factor=4.0
    )
    highest, level = 0.0, 4.0
    while schedule.outcome is None:
        highest = max(highest, schedule.rate)
        if schedule.rate > 3.0:
            level *= 0.995
        else:
            level *= 0.999995 if schedule.rate < 2.0 else 0.999  # a gain of 2 % in 20 updates
        if schedule.observe([level]) is Action.FULL_PASS:
            schedule.full_pass(level)
    assert highest == 2.0  # the first raise helped, so nothing called for a second one
    assert [event["event"] for event in schedule.drain_events()].count("stall") >= 1


def test_a_raise_that_does_not_help_is_undone() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=400, patience=50)
    rates = []
    while schedule.outcome is None:
        rates.append(schedule.rate)
        if schedule.observe([2.0]) is Action.FULL_PASS:
            schedule.full_pass(2.0)
    assert sorted(set(rates), reverse=True) == [2.0, 1.0, 0.5, 0.25, 0.125, 0.1]
    assert rates.index(2.0) == 51 and rates.index(0.5) == 101
    assert schedule.outcome == "budget_exhausted"
    assert "no updates left" in schedule.message


def test_a_rate_that_diverged_is_not_raised_again() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=400, patience=50)
    schedule.observe([2.0, math.nan])
    schedule.restored(1)
    while schedule.outcome is None:
        assert schedule.rate <= 0.5
        if schedule.observe([2.0]) is Action.FULL_PASS:
            schedule.full_pass(2.0)


def test_fixed_mode_is_constant_and_exact() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=500, mode="fixed", fixed_updates=100)
    loss, passes = decay(5), 0
    for update in range(100):
        assert (schedule.rate, schedule.phase, schedule.outcome) == (1.0, "descend", None)
        assert schedule.steps_to_go() == schedule.updates_left == 100 - update
        passes += schedule.observe([loss(1.0)]) is Action.FULL_PASS
    assert passes == 1
    assert schedule.full_pass(0.06) is Action.STOP
    assert schedule.outcome == "budget_exhausted"
    other = loss_to_zero(learning_rate=1.0, max_updates=500, mode="fixed", fixed_updates=3)
    other.observe([1.0, 1.0, 1.0])
    other.full_pass(0.05)
    assert other.outcome == "reached"


def test_warmup_is_linear_also_between_observations() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=50, warmup_updates=4)
    assert [schedule.rate_in(n) for n in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    schedule.observe([3.0, 3.0])
    assert schedule.rate == 0.75


@pytest.mark.parametrize("half_life", [10, 40, 150])
def test_forecast_is_within_a_factor_of_two_in_the_second_half(half_life: float) -> None:
    schedule, loss = loss_to_zero(learning_rate=1.0, max_updates=20_000), decay(half_life)
    assert schedule.steps_to_go() is None
    forecasts = []
    while schedule.outcome is None:
        value = loss(schedule.rate)
        if schedule.observe([value]) is Action.FULL_PASS:
            schedule.full_pass(value)
        if schedule.update % 7 == 0:
            forecasts.append((schedule.update, schedule.steps_to_go()))
    assert schedule.outcome == "reached" and schedule.steps_to_go() == 0
    for update, forecast in forecasts[len(forecasts) // 2 : -3]:
        truth = schedule.update - update
        assert forecast is not None
        assert truth / 2 <= forecast <= truth * 2, (update, forecast, truth)


def test_forecast_follows_a_loss_that_answers_to_the_rate() -> None:
    simulated = Rattling(floor_per_rate=0.04)
    schedule, forecasts = loss_to_zero(learning_rate=1.0, max_updates=20_000), []
    while schedule.outcome is None:
        if schedule.observe([simulated(schedule.rate)]) is Action.FULL_PASS:
            schedule.full_pass(simulated.level)
        if schedule.update % 7 == 0:
            forecasts.append((schedule.update, schedule.steps_to_go()))
    for update, forecast in forecasts[len(forecasts) // 2 : -3]:
        truth = schedule.update - update
        assert forecast is not None and truth / 2 <= forecast <= truth * 2, (
            update,
            forecast,
            truth,
        )


def test_forecast_is_unknown_while_nothing_falls() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=1000)
    schedule.observe([2.0 + 0.001 * update for update in range(100)])
    assert schedule.steps_to_go() is None


def test_diversity_that_stops_growing_ends_the_run_after_a_last_pass() -> None:
    schedule = loss_to_zero(
        learning_rate=1.0, max_updates=100, diversity_patience=2, diversity_min_delta=0.01
    )
    schedule.observe([3.0])
    assert [schedule.diversity(ttr) for ttr in (0.2, 0.5, 0.505, 0.6, 0.605)] == ["continue"] * 5
    assert schedule.diversity(0.4) is Action.FULL_PASS
    assert schedule.full_pass(0.3) is Action.STOP
    assert (schedule.outcome, schedule.final_loss) == ("diversity_stopped", 0.3)
    off = loss_to_zero(learning_rate=1.0, max_updates=100)
    assert {off.diversity(0.1) for _ in range(50)} == {Action.CONTINUE}


def test_loop_that_ends_early_still_gets_an_honest_outcome() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=100)
    schedule.observe([3.0])
    assert schedule.out_of_updates() is Action.FULL_PASS
    assert schedule.full_pass(2.9) is Action.STOP
    assert (schedule.outcome, schedule.final_loss) == ("budget_exhausted", 2.9)


@pytest.mark.parametrize("end", ["out_of_updates", "diversity"])
def test_one_pass_over_the_same_weights_counts_once(end: str) -> None:
    """The target asks for two passes in a row; a second one without an update proves nothing."""
    schedule = loss_to_zero(hold=2, pass_every=1, diversity_patience=1)
    schedule.diversity(0.5)
    assert schedule.observe([0.04]) is Action.FULL_PASS
    assert schedule.full_pass(0.04) is Action.CONTINUE
    action = schedule.out_of_updates() if end == "out_of_updates" else schedule.diversity(0.5)
    assert action is Action.STOP and schedule.held == 1
    ended = {"out_of_updates": "budget_exhausted", "diversity": "diversity_stopped"}[end]
    assert (schedule.outcome, schedule.final_loss) == (ended, 0.04)
    assert "held for 2" not in schedule.message


def test_the_mean_of_several_updates_is_one_look() -> None:
    """One odd batch lifts the mean of its window; that is no lasting spike."""
    schedule = loss_to_zero(max_updates=1000, spike_updates=3)
    for _ in range(10):
        schedule.observe_mean(2.0, updates=5)
    assert schedule.observe_mean(20.0, updates=5) is Action.CONTINUE
    assert not schedule.healthy
    assert schedule.observe_mean(2.0, updates=5) is Action.CONTINUE
    assert schedule.healthy and schedule.recoveries == 0 and schedule.update == 60
    windows = [schedule.observe_mean(20.0, updates=5) for _ in range(3)]
    assert windows == [Action.CONTINUE, Action.CONTINUE, Action.RESTORE]


def test_a_mean_counts_like_its_updates() -> None:
    one, other = loss_to_zero(warmup_updates=7), loss_to_zero(warmup_updates=7)
    for loss in (3.0, 2.5, 2.0):
        one.observe([loss] * 4)
        other.observe_mean(loss, updates=4)
    assert one.state_dict() == other.state_dict()
    with pytest.raises(UserError, match="updates_left"):
        other.observe_mean(1.0, updates=101)


def test_a_loss_of_abandoned_weights_is_not_the_final_one() -> None:
    schedule = loss_to_zero(hold=3, pass_every=1, max_recoveries=1)
    schedule.observe([0.04])
    schedule.full_pass(0.04)
    assert schedule.final_loss == 0.04
    schedule.observe([math.nan])
    schedule.restored(0)
    assert schedule.final_loss is None
    schedule.observe([0.04])
    schedule.full_pass(0.03)
    assert schedule.final_loss == 0.03
    assert schedule.observe([math.nan]) is Action.STOP
    assert (schedule.outcome, schedule.final_loss) == ("diverged", None)


@pytest.mark.parametrize(
    ("knee", "target", "expected"),
    [
        ("auto", 0.05, 0.5),
        ("auto", 0.5, 0.7),
        (None, 0.25, 0.35),
        (2.0, 0.25, 2.0),
        (0.3, 0.25, 0.3),
    ],
)
def test_the_knee_by_its_rules_and_by_hand(knee: Any, target: float, expected: float) -> None:
    options = ScheduleOptions(target_loss=target, knee=knee)
    assert options.knee_loss == pytest.approx(expected)
    LossToZero(options, learning_rate=1.0, max_updates=9, updates_per_epoch=3)


@pytest.mark.parametrize(("per_epoch", "every"), [(0.4, 1), (5, 2), (64, 32)])
def test_full_passes_are_half_an_epoch_apart_unless_told(per_epoch: float, every: int) -> None:
    for given in (None, 7):
        schedule = LossToZero(
            ScheduleOptions(pass_every=given, hold=9),
            learning_rate=1.0,
            max_updates=500,
            updates_per_epoch=per_epoch,
        )
        passes = []
        while len(passes) < 3:
            if schedule.observe([0.01]) is Action.FULL_PASS:
                passes.append(schedule.update)
                schedule.full_pass(0.01)
        assert passes[2] - passes[1] == (given or every)


@pytest.mark.parametrize("seed", range(30))
def test_a_json_round_trip_at_any_moment_changes_no_decision(seed: int) -> None:
    draw = random.Random(seed)
    options = {
        "learning_rate": 1.0,
        "max_updates": 300,
        "patience": draw.choice([20, 50]),
        "pass_every": draw.choice([1, 7]),
        "warmup_updates": draw.choice([0, 10]),
        "diversity_patience": draw.choice([None, 8]),
    }
    plain, copied, level = loss_to_zero(**options), loss_to_zero(**options), 3.0
    while plain.outcome is None:
        state = json.loads(json.dumps(copied.state_dict(), allow_nan=False))
        copied = loss_to_zero(**options)
        copied.load_state_dict(state)
        level *= draw.choice([0.9, 0.97, 1.0, 1.02])
        losses = [level * draw.uniform(0.8, 1.25) for _ in range(min(5, plain.updates_left))]
        if draw.random() < 0.02:
            losses[-1] = draw.choice([math.nan, math.inf])
        if draw.random() < 0.02:
            losses = [9.0] * len(losses)
        action = plain.observe(losses)
        assert action == copied.observe(losses)
        if action is Action.CONTINUE and draw.random() < 0.1:
            action = plain.diversity(level)
            assert action == copied.diversity(level)
        if action is Action.FULL_PASS:
            passed = math.nan if draw.random() < 0.05 else level
            action = plain.full_pass(passed)
            assert action == copied.full_pass(passed)
        if action is Action.RESTORE:
            back = draw.randint(0, plain.update)
            plain.restored(back)
            copied.restored(back)
        assert plain.state_dict() == copied.state_dict()
        assert (plain.rate, plain.steps_to_go()) == (copied.rate, copied.steps_to_go())


def test_a_budget_that_is_used_up_already_is_refused() -> None:
    schedule = loss_to_zero(max_updates=100)
    schedule.observe([2.0] * 12)
    loss_to_zero(max_updates=12).load_state_dict(schedule.state_dict())
    with pytest.raises(UserError, match="at least the 12 updates that were made already; got one"):
        loss_to_zero(max_updates=11).load_state_dict(schedule.state_dict())


def test_a_larger_budget_reopens_an_exhausted_run() -> None:
    ended = loss_to_zero(learning_rate=1.0, max_updates=2)
    ended.observe([3.0, 3.0])
    ended.full_pass(3.0)
    longer = loss_to_zero(learning_rate=1.0, max_updates=3)
    longer.load_state_dict(ended.state_dict())
    assert (longer.outcome, longer.updates_left, longer.phase) == (None, 1, "descend")
    assert longer.observe([3.0]) is Action.FULL_PASS
    same = loss_to_zero(learning_rate=1.0, max_updates=2)
    same.load_state_dict(ended.state_dict())
    assert same.outcome == "budget_exhausted"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("max_updates", 0),
        ("target_loss", 0.0),
        ("target_loss", -1.0),
        ("target_accuracy", 0.0),
        ("target_accuracy", 1.01),
        ("target_accuracy", math.nan),
        ("hold", 0),
        ("pass_every", 0),
        ("pass_margin", 0.9),
        ("knee", 0.05),
        ("min_rate_factor", 0.0),
        ("min_rate_factor", 1.5),
        ("warmup_updates", -1),
        ("smoothing_updates", 0),
        ("patience", 0),
        ("min_gain", 1.0),
        ("growth", 1.0),
        ("max_rate_factor", 0.5),
        ("spike_factor", 1.0),
        ("spike_nats", 0.0),
        ("spike_updates", 0),
        ("max_recoveries", -1),
        ("diversity_patience", 0),
        ("diversity_min_delta", -0.1),
        ("mode", "other"),
        ("fixed_updates", 10),
    ],
)
def test_each_option_is_checked_by_name(option: str, value: object) -> None:
    options: dict = {"learning_rate": 1e-3, "max_updates": 100, option: value}
    with pytest.raises(UserError, match=rf"schedule\.{option} "):
        loss_to_zero(**options)


@pytest.mark.parametrize("fixed_updates", [None, 0, 101])
def test_fixed_mode_needs_a_number_within_the_budget(fixed_updates: int | None) -> None:
    with pytest.raises(UserError, match=r"schedule\.fixed_updates"):
        loss_to_zero(learning_rate=1.0, max_updates=100, mode="fixed", fixed_updates=fixed_updates)


def test_calls_out_of_order_are_refused() -> None:
    schedule = loss_to_zero(learning_rate=1.0, max_updates=2)
    with pytest.raises(UserError, match="full_pass"):
        schedule.full_pass(1.0)
    with pytest.raises(UserError, match="losses"):
        schedule.observe([])
    with pytest.raises(UserError, match="updates_left"):
        schedule.observe([1.0] * 3)
    schedule.observe([1.0, 1.0])
    with pytest.raises(UserError, match="full_pass"):
        schedule.observe([1.0])
    schedule.full_pass(1.0)
    with pytest.raises(UserError, match="leave the loop"):
        schedule.observe([1.0])


def test_drives_a_plain_torch_optimizer_through_a_divergence_to_the_target() -> None:
    torch.manual_seed(0)
    ids_N, targets_N = torch.arange(32), torch.randint(0, 8, (32,))
    head = torch.nn.Linear(8, 8)
    model = torch.nn.Sequential(torch.nn.Embedding(32, 8), head)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
    cross_entropy, updates = torch.nn.functional.cross_entropy, 0

    def save() -> dict:
        return {
            "update": schedule.update,
            "model": {name: value.clone() for name, value in model.state_dict().items()},
        }

    def load(state: dict) -> int:
        model.load_state_dict(state["model"])
        optimizer.state.clear()
        return state["update"]

    def update() -> float:
        nonlocal updates
        updates += 1
        chosen_B = torch.randint(0, 32, (8,))
        loss = cross_entropy(model(ids_N[chosen_B]), targets_N[chosen_B])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if updates == 30:
            head.weight.data.fill_(math.nan)
        return loss.item()

    schedule = loss_to_zero(learning_rate=0.02, max_updates=2000)
    good = save()
    while schedule.outcome is None:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate
        action = schedule.observe([update()])
        if action is Action.FULL_PASS:
            with torch.no_grad():
                action = schedule.full_pass(cross_entropy(model(ids_N), targets_N).item())
        if action is Action.RESTORE:
            schedule.restored(load(good))
        elif schedule.healthy and schedule.update % 20 == 0:
            good = save()
    assert schedule.outcome == "reached"
    assert schedule.recoveries == 1
    assert cross_entropy(model(ids_N), targets_N).item() <= 0.05
