"""A learning-rate range test: which rate a model and a training set want, from a few dozen updates.

The rate rises exponentially from a very low value on a few of the run's own batches, in turn, until
the loss is clearly on its way up (Smith, arXiv 1506.01186). What counts of a batch is the change of
its loss against the untouched weights: batches differ by more than a few updates bring. The rate of
the steepest descent is not the best one: a rate that reaches zero as fast as a lower one copies
several times as much (LOG.md). AdamW's descent slows down far less than its rate, so the lowest
rate is taken whose descent is still `SPEED_SHARE` of the steepest; the share is calibrated on
models whose good rate is known by hand.

No torch in here. The loop that calls it puts weights and optimizer back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.errors import UserError

LOWEST_RATE, HIGHEST_RATE = 1e-6, 1.0
PER_DECADE = 8
BATCHES = 12
"""Different batches, each used about every 1.5 decades."""
SPEED_SHARE = 0.6
"""Of the steepest descent, down to which a lower rate is as good."""
FLAT_FRACTION = 0.1
"""Of the highest rate that does not raise a loss which none lowers."""
SPAN = 3
"""Neighbours on either side that the centred, triangular average takes in."""
RISE_SHARE = 0.25
"""Of the first loss: a rise above the lowest point by so much, and by half of the whole descent,
ends the test."""
RISE_UPDATES = 3
"""For so many updates in a row, since one odd batch is no divergence."""
FLAT_SHARE = 0.01
"""Of the first loss: a smaller descent tells nothing about where it was steepest."""


@dataclass(frozen=True, kw_only=True)
class RateCurve:
    """What a range test saw.

    Attributes:
        learning_rates: rising, one per update.
        changes_nats: loss of the update's batch less its loss under the untouched weights; None
            where it was not finite, which is always the last.
        first_loss: mean loss of the batches under the untouched weights, nats per token.
    """

    learning_rates: Sequence[float]
    changes_nats: Sequence[float | None]
    first_loss: float


def rates() -> list[float]:
    """The rates of a whole test, in order."""
    decades = math.log10(HIGHEST_RATE / LOWEST_RATE)
    steps = round(decades * PER_DECADE)
    return [LOWEST_RATE * 10 ** (decades * step / steps) for step in range(steps + 1)]


def run_rate_test(
    update: Callable[[int, float], float], losses_before: Sequence[float]
) -> RateCurve:
    """Make updates at rising rates until the loss rises for good, or the rates end.

    Args:
        update: makes one on batch number i at a rate, and gives that batch's loss just before it.
        losses_before: of every batch under the untouched weights, nats per token.

    Raises:
        UserError: one of these is not finite.
    """
    first = sum(losses_before) / len(losses_before)
    if not math.isfinite(first):
        raise UserError(
            expected="a model with a finite loss on the training set",
            got=f"{first}",
            fix="use an undamaged checkpoint, or --train.precision fp32",
        )
    tried: list[float] = []
    changes: list[float | None] = []
    for step, rate in enumerate(rates()):
        batch = step % len(losses_before)
        change = update(batch, rate) - losses_before[batch]
        tried.append(rate)
        changes.append(change if math.isfinite(change) else None)
        if _has_risen(changes, first):
            break
    return RateCurve(learning_rates=tried, changes_nats=changes, first_loss=first)


def smoothed(values: Sequence[float]) -> list[float]:
    """Centred average with triangular weights, which moves no extremum to either side."""
    averages = []
    for centre in range(len(values)):
        span = min(SPAN, centre, len(values) - 1 - centre)
        weights = {centre + k: span + 1 - abs(k) for k in range(-span, span + 1)}
        total = sum(weight * values[place] for place, weight in weights.items())
        averages.append(total / sum(weights.values()))
    return averages


def choose_rate(curve: RateCurve) -> tuple[float, str]:
    """The rate to train at, and a sentence on why.

    Where the loss cannot be seen to fall, as in a model that is at its target already, it is a
    fraction of the highest rate that does not raise it.

    Raises:
        UserError: the loss rises, or is not finite, from the lowest rates on; or no rate changes
            it.
    """
    finite = [change for change in curve.changes_nats if change is not None]
    averages, tried = smoothed(finite), curve.learning_rates
    noise = FLAT_SHARE * curve.first_loss
    lowest = min(range(len(averages)), key=averages.__getitem__, default=0)
    if not averages or averages[lowest] >= -noise:
        if averages and averages[-1] <= noise and None not in curve.changes_nats:
            raise _no_rate("leaves the loss as it is")
        calm = [place for place, average in enumerate(averages) if average <= noise]
        edge = tried[max(calm, default=0)]
        if edge < tried[0] / FLAT_FRACTION:
            raise _no_rate("is too high")
        rate = FLAT_FRACTION * edge
        return rate, f"learning rate {rate:.3g}: {FLAT_FRACTION:g} of the highest that is harmless"
    # The update at rate number i is seen in change number i + 1.
    speeds = [averages[i] - averages[i + 1] for i in range(lowest)]
    place = max(range(lowest), key=speeds.__getitem__)
    fastest = tried[place]
    while place > 0 and speeds[place - 1] >= SPEED_SHARE * max(speeds):
        place -= 1
    if place == 0:
        raise _no_rate("is too high")
    rate = tried[place]
    return rate, (
        f"learning rate {rate:.3g}: the lowest that is nearly as fast as {fastest:.3g}, where the "
        "loss falls fastest"
    )


def _has_risen(changes: Sequence[float | None], first_loss: float) -> bool:
    """Whether the end of the curve is far above its lowest point, or not finite."""
    if changes[-1] is None:
        return True
    known = [change for change in changes if change is not None]
    lowest = min([0.0, *known])
    limit = lowest + max(RISE_SHARE * first_loss, -lowest / 2)
    return len(known) >= RISE_UPDATES and min(known[-RISE_UPDATES:]) > limit


def _no_rate(what: str) -> UserError:
    return UserError(
        expected=f"a learning rate between {LOWEST_RATE:g} and {HIGHEST_RATE:g} that lowers the "
        "training loss, for schedule.learning_rate auto",
        got=f"a range test in which every one {what}",
        fix="give schedule.learning_rate a number",
    )
