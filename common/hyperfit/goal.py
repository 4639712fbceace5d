"""The target of a run, a loss or an accuracy of its training set, and when the run is near it.

Accuracy is the share of training tokens that are the model's first choice (the argmax). At accuracy
1 greedy decoding reproduces the set. Kopiczko et al. (arXiv 2602.11149) find it the right signal to
stop at when training repeats a small set. A full pass measures it together with the loss.

A target accuracy replaces the target loss. The loss at which it is reached differs between models
and sets, so with both targets some runs would end too early and others too late.

Between full passes the schedule watches a smoothed curve: the batch loss or, for an accuracy, the
share of wrong tokens in a batch. Some loops have no batch accuracies (a `Trainer` logs none). Then
the share is estimated from the loss, by `NATS_PER_WRONG_TOKEN`.
"""

from __future__ import annotations

import math

from common.hyperfit.options import ScheduleOptions

NATS_PER_WRONG_TOKEN = 5.0
"""Loss per share of wrong tokens: 5.3 at a loss of 3.7, 4.9 at 1.9, in the embedded text model."""
WRONG_MARGIN = 0.005
"""Added to the share of wrong tokens at which a full pass is due. The target accuracy 1 has a share
of 0, of which every multiple is 0 as well."""
LEAST_WRONG = 1e-3
"""Forecasts end at this share of wrong tokens, because an exponential never reaches 0."""


class Goal:
    """Target of a run.

    Args:
        options: of the schedule, already checked.
    """

    def __init__(self, options: ScheduleOptions) -> None:
        self._loss, self._accuracy = options.target_loss, options.target_accuracy
        self._margin = options.pass_margin

    @property
    def by_accuracy(self) -> bool:
        """Whether the accuracy ends the run, not the loss."""
        return self._accuracy is not None

    def level(self, loss: float, accuracy: float | None) -> float:
        """The value of one update on the watched curve: its loss, or its share of wrong tokens."""
        if self._accuracy is None:
            return loss
        return min(loss / NATS_PER_WRONG_TOKEN, 1.0) if accuracy is None else 1 - accuracy

    def reached(self, loss: float, accuracy: float | None) -> bool:
        """Whether the result of a full pass is at the target."""
        if self._accuracy is None:
            return loss <= self._loss
        assert accuracy is not None
        return accuracy >= self._accuracy

    def near(self, smoothed: float) -> bool:
        """Whether the watched curve is near enough to the target for a full pass."""
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
            smoothed: its present value.
            slope: change of its log per update at a relative rate of 1; below 0. At a relative rate
                r it changes by sqrt(r) of that.
            factor: the relative rate, which is assumed to stay the same.
        """
        assert self._accuracy is not None
        target = max(1 - self._accuracy, LEAST_WRONG)
        fall = math.log(max(smoothed, target)) - math.log(target)
        return math.ceil(fall / -slope / math.sqrt(factor))

    def told(self, loss: float, accuracy: float | None) -> str:
        """The result of a full pass beside the target, for a message."""
        if self._accuracy is None:
            return f"training loss {loss:.4g} (target {self._loss:g})"
        assert accuracy is not None
        return (
            f"accuracy {accuracy:.4f} on the training set (target {self._accuracy:g}), training "
            f"loss {loss:.4g}"
        )
