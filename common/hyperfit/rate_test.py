"""A learning-rate range test: which rate a model and a training set want, from a few dozen updates.

The rate rises exponentially from a very low value on a few of the run's own batches, in turn, until
the loss is clearly on its way up (Smith, arXiv 1506.01186), or the choice can no longer change. It
rises in longer steps while it is low and no loss moves: which rates are far too low depends on the
model's size.
What counts of a batch is the change of its loss against the untouched weights: batches differ by
more than a few updates bring.

The rate that descends fastest is not the best one: as fast to zero as a lower one, it copies
several times as much (LOG.md). So the rule asks for fast enough, not for fastest: the rate at which
the smoothed loss has fallen by `DESCENT_SHARE`, which in a test of this pace means an update that
takes about 1 % off the loss, and a run of a few hundred. Where the model learns too slowly for
that, stability decides: never above `EDGE_FRACTION` of the rate at which the smoothed loss is
lowest, since rates near that edge rattle. Both are calibrated on models whose good rate is known by
hand (LOG.md): with either alone one of them is off by a factor of three or more.

No torch in here. The loop that calls it puts weights and optimizer back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.errors import UserError

LOWEST_RATE, HIGHEST_RATE = 1e-6, 1.0
PER_DECADE = 8
FAR_BELOW_STEPS = 4
"""Of the ladder of rates that are taken at once up to `FAR_BELOW`, while no loss has changed by
`VISIBLE_SHARE`. Above it a model may still be still, and need the many updates to begin to move."""
FAR_BELOW = 3e-5
VISIBLE_SHARE = 0.002
"""Of the first loss."""
BATCHES = 12
"""Different batches, each used about every 1.5 decades."""
DESCENT_SHARE = 0.05
"""Of the first loss, by which the smoothed loss has fallen at a rate that is fast enough."""
EDGE_FRACTION = 0.25
"""Of the rate at which the smoothed change of the loss is lowest; no rate above is chosen."""
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

    @property
    def averages(self) -> list[float]:
        """The smoothed changes, as far as they are finite."""
        return smoothed([change for change in self.changes_nats if change is not None])

    @property
    def done_by(self) -> list[float]:
        """The highest rate behind every change: number i is what the updates before it did."""
        return [self.learning_rates[0], *self.learning_rates]


def rates() -> list[float]:
    """The ladder of rates that a test climbs."""
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
    ladder, rung = rates(), 0
    tried: list[float] = []
    changes: list[float | None] = []
    curve = RateCurve(learning_rates=tried, changes_nats=changes, first_loss=first)
    visible = False
    while rung < len(ladder):
        batch = len(tried) % len(losses_before)
        change = update(batch, ladder[rung]) - losses_before[batch]
        tried.append(ladder[rung])
        changes.append(change if math.isfinite(change) else None)
        if _has_risen(changes, first) or _is_settled(curve):
            break
        visible = visible or abs(change) > VISIBLE_SHARE * first
        rung += 1 if visible or ladder[rung] > FAR_BELOW else FAR_BELOW_STEPS
    return curve


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

    Where the loss cannot be seen to fall, as in a model that is at its target already, the highest
    rate that does not raise it takes the place of the one at which it is lowest.

    Raises:
        UserError: the loss rises, or is not finite, from the lowest rates on; or no rate changes
            it.
    """
    averages = curve.averages
    noise = FLAT_SHARE * curve.first_loss
    place = min(range(len(averages)), key=averages.__getitem__, default=0)
    told = "the smoothed loss is lowest"
    if not averages or averages[place] >= -noise:
        if averages and averages[-1] <= noise and None not in curve.changes_nats:
            raise _no_rate("leaves the loss as it is")
        place = max((i for i, average in enumerate(averages) if average <= noise), default=0)
        told = "the loss, which none lowers, does not rise yet"
    edge = curve.done_by[place]
    rate, why = EDGE_FRACTION * edge, f"{EDGE_FRACTION:g} of {edge:.3g}, where {told}"
    fast = _fast_enough(curve, averages)
    if fast < rate:
        rate, why = fast, f"the smoothed loss has fallen by {100 * DESCENT_SHARE:g} % there"
    if rate <= LOWEST_RATE:
        raise _no_rate("is too high")
    return rate, f"learning rate {rate:.3g}: {why}"


def _fast_enough(curve: RateCurve, averages: Sequence[float]) -> float:
    """The rate by which the loss has fallen by `DESCENT_SHARE`; infinite if it has not."""
    goal = -DESCENT_SHARE * curve.first_loss
    return next(
        (rate for rate, average in zip(curve.done_by, averages, strict=False) if average <= goal),
        math.inf,
    )


def _is_settled(curve: RateCurve) -> bool:
    """Whether further, higher rates cannot change the choice: one is fast enough, and the loss has
    been lowest far enough above it already. The last averages still move and do not count."""
    averages = curve.averages[:-SPAN]
    if not averages:
        return False
    lowest = min(range(len(averages)), key=averages.__getitem__)
    return _fast_enough(curve, averages) < EDGE_FRACTION * curve.done_by[lowest]


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
