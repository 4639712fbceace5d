"""Where a run measures and saves: bounded in cost, dense at first, the same whenever asked."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from tiny_families import tiny_model

from common.hyperfit.spacing import (
    CHECKPOINT_COST,
    CHECKPOINT_SHARE,
    CURVE_SHARE,
    DECODED_COST,
    MOST_POINTS,
    PROBED_COST,
    VALIDATION_SHARE,
    Regular,
    Spacing,
    Widening,
    Workload,
    due,
    update_share,
)
from common.model.tune import prepare_tuning


def points(spacing: Spacing, last: int) -> list[int]:
    """The updates at which something is due where every update is a log line."""
    return [u for u in range(1, last + 1) if due(spacing, u - 1, u)]


def work(**changes: float | str) -> Workload:
    options = {"update_tokens": 1024, "updates_per_epoch": 64.0, "budget": 3840}
    options |= {"update_share": 1.0, "device": "cpu"}
    return Workload(**(options | changes))  # type: ignore[arg-type]


def test_regular_points_are_multiples() -> None:
    assert points(Regular(every=5), 21) == [5, 10, 15, 20]
    assert due(Regular(every=5), 4, 12) and not due(Regular(every=5), 5, 9)


@pytest.mark.parametrize(("horizon", "count"), [(100, 5), (768, 13), (30, 24), (7, 1)])
def test_widening_points_are_at_the_squares(horizon: int, count: int) -> None:
    found = points(Widening(horizon=horizon, points=count), 3 * horizon)
    squares = [math.ceil(horizon * k * k / count**2 - 1e-9) for k in range(1, count + 1)]
    assert [u for u in found if u <= horizon] == sorted(set(squares))
    gaps = [b - a for a, b in pairwise([0, *found])]
    assert gaps[0] == min(gaps)
    beyond = [b - a for a, b in pairwise(found) if a >= horizon]
    assert len(set(beyond)) == 1 and beyond[0] >= max(gaps) - 1  # the last gap goes on, rounded


def test_log_lines_change_no_points_but_when_they_are_noticed() -> None:
    spacing = Widening(horizon=200, points=9)
    lines = range(8, 401, 8)
    assert sum(due(spacing, u - 8, u) for u in lines) == len(
        {-(-p // 8) for p in points(spacing, 400)}
    )


def test_measuring_and_saving_stay_within_their_shares() -> None:
    """All points of a run of the usual length, both ends included, against its updates."""
    one = work()
    for tokens, cost, share, spacing in (
        (32 * 256, PROBED_COST, VALIDATION_SHARE, one.validations(32 * 256)),
        (12 * 96, DECODED_COST["cpu"], CURVE_SHARE, one.curve_points(12 * 96)),
    ):
        count = len(points(spacing, spacing.horizon)) + 2
        spent = count * cost * tokens / (spacing.horizon * one.update_tokens)
        assert 0.6 * share < spent <= share
    each = CHECKPOINT_COST["cpu"] / (one.checkpoints().every * one.update_tokens)
    assert 0.7 * CHECKPOINT_SHARE < each <= CHECKPOINT_SHARE


def test_what_the_points_hang_on() -> None:
    """More to measure, or cheaper updates, means fewer points; never none, never too many."""
    many = work().curve_points(1152).points
    assert work().curve_points(2304).points < many
    assert work(update_share=0.5).curve_points(1152).points < many
    assert work(device="cuda").curve_points(1152).points == 2
    assert work().validations(10**9).points == 3
    assert work().validations(0).points == MOST_POINTS
    assert work(budget=100).curve_points(1152).horizon == 100
    half = work(update_tokens=512).checkpoints().every
    assert half == pytest.approx(2 * work().checkpoints().every, abs=1)
    assert work(device="cuda").checkpoints().every > 100 * work().checkpoints().every


@pytest.mark.parametrize("tied", [True, False])
def test_update_share_counts_what_an_update_computes_with(tied: bool) -> None:
    model = tiny_model("llama", tie_word_embeddings=tied)
    assert update_share(model, kept=False) == 1.0
    prepare_tuning(model, where="last:1", lora_rank=0, freeze_embeddings=False)
    used = [*model.model.layers[1].parameters(), *model.model.norm.parameters()]
    used += [model.lm_head.weight]
    expected = sum(p.numel() for p in used) / sum(p.numel() for p in model.parameters())
    assert update_share(model, kept=True) == pytest.approx(expected)
    assert isinstance(used[0], torch.nn.Parameter)
