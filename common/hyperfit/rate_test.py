"""A learning-rate range test: it finds a learning rate for a model and a training set.

The test takes a few dozen updates on a few of the run's own batches, which take turns. The rate
rises exponentially from a very low value, until the loss clearly rises (Smith, arXiv 1506.01186) or
the choice can no longer change. Which rates are far too low depends on the size of the model. So
the rate rises in larger steps while it is low and no loss changes.

The test compares the loss of each batch with the loss of the same batch under the original weights,
because batches differ by more than a few updates change.

The rate with the fastest descent is not the best one. It reaches the target no sooner than a lower
rate and copies several times as much (LOG.md). So two rules choose a rate that is fast enough:

* It is the rate at which the smoothed loss has fallen by `DESCENT_SHARE`. At this rate an update
  lowers the loss by about 1 %, and a run takes a few hundred updates.
* It is at most `EDGE_FRACTION` of the rate at which the smoothed loss is lowest, since near that
  rate the loss oscillates. This rule decides where a model learns too slowly for the first one.

Both rules were calibrated on models whose best rate had been found by hand (LOG.md). With one rule
alone, the chosen rate of at least one model is wrong by a factor of three or more.

No torch in here. The loop that calls the test puts weights and optimizer back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.errors import UserError

LOWEST_RATE, HIGHEST_RATE = 1e-6, 1.0
PER_DECADE = 8
FAR_BELOW_STEPS = 4
"""Steps of the ladder of rates that the test climbs at once, while the rate is at most `FAR_BELOW`
and no loss has changed by `VISIBLE_SHARE`. Above that rate it takes single steps, since some models
need many updates before their loss changes."""
FAR_BELOW = 3e-5
VISIBLE_SHARE = 0.002
"""Share of the first loss."""
BATCHES = 12
"""Different batches. Each takes its turn once in about 1.5 decades of the rate."""
DESCENT_SHARE = 0.05
"""Share of the first loss by which the smoothed loss has fallen at a rate that is fast enough."""
EDGE_FRACTION = 0.25
"""Share of the rate at which the smoothed loss is lowest; no higher rate is chosen."""
SPAN = 3
"""Neighbours on either side in the centred average with triangular weights."""
RISE_SHARE = 0.25
"""Share of the first loss. The test ends when the loss is above its lowest point by more than this,
and by more than half of the whole descent, ..."""
RISE_UPDATES = 3
"""... for this many updates in a row, since a single outlier is not a divergence."""
FLAT_SHARE = 0.01
"""Share of the first loss. A smaller change of the loss counts as noise."""


@dataclass(frozen=True, kw_only=True)
class RateCurve:
    """What a range test measured.

    Attributes:
        learning_rates: one per update, ascending.
        changes_nats: loss of the update's batch less its loss under the original weights. None, for
            a loss that is not finite, can only be the last.
        first_loss: mean loss of the batches under the original weights, nats per token.
    """

    learning_rates: Sequence[float]
    changes_nats: Sequence[float | None]
    first_loss: float

    @property
    def averages(self) -> list[float]:
        """The smoothed changes, of those that are finite."""
        return smoothed([change for change in self.changes_nats if change is not None])

    @property
    def done_by(self) -> list[float]:
        """The highest rate that each change results from. A loss is measured before its own update,
        so change i results from the updates before i."""
        return [self.learning_rates[0], *self.learning_rates]


def rates() -> list[float]:
    """The ladder of rates that a test climbs, `PER_DECADE` in each decade."""
    decades = math.log10(HIGHEST_RATE / LOWEST_RATE)
    steps = round(decades * PER_DECADE)
    return [LOWEST_RATE * 10 ** (decades * step / steps) for step in range(steps + 1)]


def run_rate_test(
    update: Callable[[int, float], float], losses_before: Sequence[float]
) -> RateCurve:
    """Make updates at rising rates until the loss rises for good, or the rates end.

    Args:
        update: makes an update on batch number i at a rate, and returns the loss of that batch just
            before it.
        losses_before: loss of every batch under the original weights, nats per token.

    Raises:
        UserError: one of `losses_before` is not finite.
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
    """Centred average with triangular weights, which does not shift minima to either side."""
    averages = []
    for centre in range(len(values)):
        span = min(SPAN, centre, len(values) - 1 - centre)
        weights = {centre + k: span + 1 - abs(k) for k in range(-span, span + 1)}
        total = sum(weight * values[place] for place, weight in weights.items())
        averages.append(total / sum(weights.values()))
    return averages


def choose_rate(curve: RateCurve) -> tuple[float, str]:
    """The rate to train at, and a sentence that gives the reason.

    Where no rate lowers the loss visibly, as in a model that is already at its target, the highest
    rate that does not raise it stands in for the rate at which the loss is lowest.

    Raises:
        UserError: even the lowest rates raise the loss or make it NaN, or no rate changes it.
    """
    averages = curve.averages
    noise = FLAT_SHARE * curve.first_loss
    place = min(range(len(averages)), key=averages.__getitem__, default=0)
    reason = "the smoothed loss is lowest"
    if not averages or averages[place] >= -noise:
        if averages and averages[-1] <= noise and None not in curve.changes_nats:
            raise _no_rate("leaves the loss as it is")
        place = max((i for i, average in enumerate(averages) if average <= noise), default=0)
        reason = "the loss, which none lowers, does not rise yet"
    edge = curve.done_by[place]
    rate, why = EDGE_FRACTION * edge, f"{EDGE_FRACTION:g} of {edge:.3g}, where {reason}"
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
    """Whether higher rates can no longer change the choice: one is fast enough, and the loss was
    lowest at a rate far enough above it. The last averages do not count, since they can change."""
    averages = curve.averages[:-SPAN]
    if not averages:
        return False
    lowest = min(range(len(averages)), key=averages.__getitem__)
    return _fast_enough(curve, averages) < EDGE_FRACTION * curve.done_by[lowest]


def _has_risen(changes: Sequence[float | None], first_loss: float) -> bool:
    """Whether the end of the curve is clearly above its lowest point, or not finite."""
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
