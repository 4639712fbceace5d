"""What a run drives to: a loss or an accuracy of its training set, and when it is near.

Accuracy is the share of training tokens whose first choice, the argmax, is right: what greedy
decoding needs to say the set by heart. Kopiczko et al. (arXiv 2602.11149) find it the signal to
stop at when a small set is repeated. It is measured in the pass that gives the loss. Where it is
given it alone ends the run: the loss at which it is reached differs between models and sets, so a
target loss beside it would end some runs before and hold others after.

The curve that is watched between full passes is the smoothed batch loss, or the smoothed share of
wrong tokens. A loop that tells no batch accuracies (a `Trainer` logs none) has the share taken from
the loss, at `NATS_PER_WRONG_TOKEN`.
"""

from __future__ import annotations

import math

from common.hyperfit.options import ScheduleOptions

NATS_PER_WRONG_TOKEN = 5.0
"""Loss / share of wrong tokens; 5.3 to 4.9 between losses of 3.7 and 1.9 in the embedded model."""
WRONG_MARGIN = 0.005
"""A pass is due so near the target at least: a multiple of no wrong token is none."""
LEAST_WRONG = 1e-3
"""Forecasts end at this share of wrong tokens: an exponential never arrives at none."""


class Goal:
    """Target of a run.

    Args:
        options: checked ones.
    """

    def __init__(self, options: ScheduleOptions) -> None:
        self._loss, self._accuracy = options.target_loss, options.target_accuracy
        self._margin = options.pass_margin

    @property
    def by_accuracy(self) -> bool:
        """Whether the accuracy ends the run, not the loss."""
        return self._accuracy is not None

    def level(self, loss: float, accuracy: float | None) -> float:
        """What the watched curve takes of one update: its loss, or its share of wrong tokens."""
        if self._accuracy is None:
            return loss
        return min(loss / NATS_PER_WRONG_TOKEN, 1.0) if accuracy is None else 1 - accuracy

    def reached(self, loss: float, accuracy: float | None) -> bool:
        """Whether a full pass is at the target."""
        if self._accuracy is None:
            return loss <= self._loss
        assert accuracy is not None
        return accuracy >= self._accuracy

    def near(self, smoothed: float) -> bool:
        """Whether the watched curve asks for a full pass."""
        if self._accuracy is None:
            return smoothed <= self._margin * self._loss
        return smoothed <= self._margin * (1 - self._accuracy) + WRONG_MARGIN

    def arrived(self, smoothed: float) -> bool:
        """Whether the watched curve is at the target itself."""
        target = self._loss if self._accuracy is None else max(1 - self._accuracy, LEAST_WRONG)
        return smoothed <= target

    def updates_to(self, smoothed: float, slope: float, factor: float) -> int:
        """Forecast for an accuracy: updates until the watched curve is at the target.

        Args:
            smoothed: where it stands.
            slope: change of its log per unit of the square root of the relative rate, below 0.
            factor: the relative rate, taken to stay as it is.
        """
        assert self._accuracy is not None
        target = max(1 - self._accuracy, LEAST_WRONG)
        fall = math.log(max(smoothed, target)) - math.log(target)
        return math.ceil(fall / -slope / math.sqrt(factor))

    def told(self, loss: float, accuracy: float | None) -> str:
        """A full pass against the target, for a message."""
        if self._accuracy is None:
            return f"training loss {loss:.4g} (target {self._loss:g})"
        assert accuracy is not None
        return (
            f"accuracy {accuracy:.4f} on the training set (target {self._accuracy:g}), training "
            f"loss {loss:.4g}"
        )
