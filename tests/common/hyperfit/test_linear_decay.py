"""Warm-up and linear decay against torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch

from common.errors import UserError
from common.hyperfit.linear_decay import LinearDecay
from common.hyperfit.loss_to_zero import Action


def test_rates_against_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    rise = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1 / 5, end_factor=1.0, total_iters=4
    )
    fall = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1.0, end_factor=0.0, total_iters=15
    )
    torchs = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[5])
    schedule = LinearDecay(learning_rate=0.3, updates=20, warmup_updates=5)
    for update in range(20):
        assert schedule.rate_in(update) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        torchs.step()


def test_windows_do_not_change_the_rates_and_the_end_is_exact() -> None:
    schedule = LinearDecay(learning_rate=1.0, updates=10, warmup_updates=0)
    ahead = [schedule.rate_in(pending) for pending in range(10)]
    rates = []
    while schedule.outcome is None:
        window = min(3, schedule.updates_left)
        rates += [schedule.rate_in(pending) for pending in range(window)]
        action = schedule.observe([2.0, 1.0, 3.0][:window])
    assert rates == ahead and ahead[0] == 1.0 and ahead[-1] == pytest.approx(0.1)
    assert action is Action.STOP and schedule.outcome == "budget_exhausted"
    assert schedule.final_loss == 2.0 and schedule.message == "10 of 10 updates"
    assert schedule.healthy and schedule.updates_left == 0


def test_nan_ends_the_run() -> None:
    schedule = LinearDecay(learning_rate=1.0, updates=10, warmup_updates=2)
    assert schedule.phase == "warm-up"
    assert schedule.observe([2.0, 4.0]) is Action.CONTINUE
    assert schedule.phase == "decay"
    assert schedule.observe([1.0, math.nan]) is Action.STOP
    assert schedule.outcome == "diverged" and not schedule.healthy
    assert schedule.final_loss is None  # the weights of [2, 4] are gone as well
    assert [e["event"] for e in schedule.drain_events()] == ["nan"]
    assert schedule.drain_events() == []


def test_state_goes_on_where_it_was() -> None:
    schedule = LinearDecay(learning_rate=1.0, updates=10, warmup_updates=0)
    schedule.observe([2.0, 1.0])
    again = LinearDecay(learning_rate=1.0, updates=10, warmup_updates=0)
    again.load_state_dict(schedule.state_dict())
    assert again.rate_in(0) == schedule.rate_in(0) == pytest.approx(0.8)
    assert again.updates_left == 8 and again.final_loss == 1.5
    assert again.diversity(0.1) is Action.CONTINUE


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", 0.0), ("learning_rate", math.inf), ("updates", 0), ("warmup_updates", -1)],
)
def test_bad_values(name: str, value: float) -> None:
    options = {"learning_rate": 1.0, "updates": 10, "warmup_updates": 0} | {name: value}
    with pytest.raises(UserError, match=name):
        LinearDecay(**options)
