"""The options of the loss-to-zero schedule.

The training loop, the `Trainer` callback and anybody's own loop share this one set of options and
defaults. The defaults were measured (see LOG.md). The knee is the loss below which the learning
rate falls. Among knees from 1.4 to 10 times the target, lower ones reach the target faster, and
above 1.4 times the target the loss hardly oscillates at the full rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from common.errors import UserError
from common.tools.ranges import Count, NotNegative, Positive, Range, Share, above, at_least
from common.tools.values import check_values

Mode = Literal["target", "fixed"]
Auto = Literal["auto"]
KNEE_OVER_TARGET = 1.4
KNEE_NATS = 0.5
"""Default knee. Below it the loss of a real model, which sees each batch once per epoch, oscillates
at the full rate, and what training still gains there is copies (LOG.md)."""


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """When the learning rate falls and when the run ends (losses in nats per token).

    "The paper" is P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318). A full pass measures the whole
    training set in eval mode.
    """

    target_loss: Positive = 0.1
    """The run is done at this training loss, measured by a full pass over the training set in eval
    mode."""
    target_accuracy: Share | None = None
    """The run is done at this accuracy, whatever its loss: the share of training tokens that are
    the model's first choice, in a full pass. target_loss then only sets the knee. null is off."""
    hold: Count = 2
    """How many full passes in a row must be at the target."""
    mode: Mode = "target"
    """target stops at the target; fixed trains for a fixed length at a constant rate."""
    fixed_updates: Count | None = None
    """Length of the fixed mode in updates (the paper: 5000)."""
    pass_every: Count | None = None
    """Fewest updates between two full passes; null is half an epoch."""
    pass_margin: Annotated[float, at_least(1)] = 1.2
    """A full pass is due once the smoothed loss is below this multiple of the target."""
    knee: float | Auto | None = "auto"
    """Smoothed loss below which the learning rate falls with the loss. auto: 0.5, or 1.4 times the
    target where that is higher; null is 1.4 times the target."""
    min_rate_factor: Share = 0.1
    """The learning rate falls to this share of itself at the lowest."""
    warmup_updates: Annotated[int, at_least(0)] = 0
    """Updates of linear warm-up at the start."""
    smoothing_updates: Count = 16
    """Updates that the moving average of the loss spans."""
    patience: Count = 200
    """Updates without a gain of min_gain after which the descent counts as stalled."""
    min_gain: Annotated[float, Range(low=0, high=1, above=True, below=True)] = 0.02
    """Relative fall of the smoothed loss that counts as a gain."""
    growth: Annotated[float, above(1)] = 2.0
    """Factor by which a stall raises the learning rate."""
    max_rate_factor: Annotated[float, at_least(1)] = 8.0
    """Largest multiple of the learning rate to which stalls raise it; 1 forbids raises."""
    spike_factor: Annotated[float, above(1)] = 2.0
    """A loss is a spike if it is above this multiple of the lowest smoothed loss ..."""
    spike_nats: Positive = 1.0
    """... and also this many nats above the lowest smoothed loss."""
    spike_updates: Count = 3
    """Spikes in a row after which the run returns to its last good state at half the rate."""
    max_recoveries: Annotated[int, at_least(0)] = 3
    """Returns to the last good state, after spikes or NaN, before the run ends as diverged."""
    diversity_patience: Count | None = None
    """Stop after this many validations in a row without growth of the held-out type-token ratio;
    null is off."""
    diversity_min_delta: NotNegative = 0.005
    """Least growth of the type-token ratio that counts."""

    @property
    def knee_loss(self) -> float:
        """The knee in nats per token: the number given, or the one that auto or null stand for."""
        if isinstance(self.knee, (int, float)):
            return self.knee
        by_target = KNEE_OVER_TARGET * self.target_loss
        return by_target if self.knee is None else max(KNEE_NATS, by_target)

    def check(self) -> None:
        """Refuse the first option that is out of range.

        Raises:
            UserError: an option is out of range; the message names it as schedule.NAME.
        """
        check_values(self, "schedule.", option="")
        above_target = f"above schedule.target_loss ({self.target_loss}), auto or null"
        _check("knee", self.knee, self.target_loss < self.knee_loss < math.inf, above_target)
        _check("mode", self.mode, self.mode in ("target", "fixed"), '"target" or "fixed"')


def check_budget(
    options: ScheduleOptions, *, learning_rate: float | Auto, max_updates: int
) -> None:
    """Refuse options that do not fit the budget or the mode.

    Raises:
        UserError: an option does not fit; the message names it as schedule.NAME.
    """
    _check("max_updates", max_updates, max_updates >= 1, "at least 1")
    fits = learning_rate == "auto" or 0 < learning_rate < math.inf
    _check("learning_rate", learning_rate, fits, "a positive number, or auto")
    fixed = options.fixed_updates
    if options.mode == "target":
        _check("fixed_updates", fixed, fixed is None, "unset in target mode")
    else:
        fits = fixed is not None and fixed <= max_updates
        expected = f"from 1 to schedule.max_updates ({max_updates}) in fixed mode"
        _check("fixed_updates", fixed, fits, expected)
        accuracy = options.target_accuracy
        _check("target_accuracy", accuracy, accuracy is None, "unset in fixed mode")


def _check(option: str, value: object, fits: bool, expected: str) -> None:
    if not fits:
        raise UserError(
            expected=f"schedule.{option} to be {expected}",
            got=repr(value),
            fix=f"change schedule.{option}",
        )
