"""The options of the loss-to-zero schedule: one set, with one set of defaults, for the training
loop, the `Trainer` callback and anybody's own loop.

The defaults are measured ones (see LOG.md): between 1.4 and 10 times the target a later knee is
faster, and the rate hardly rattles above 1.4.
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
"""Where the rate begins to fall by default: batches of a real model, met once per epoch, rattle
below that at the rate of the descent, and what they gain there is copies (LOG.md)."""


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """When the rate falls and when the run ends (losses in nats per token)."""

    target_loss: Positive = 0.1
    """Training loss, of a full pass in eval mode, at which the run is done."""
    target_accuracy: Share | None = None
    """Share of training tokens whose first choice is right, of a full pass in eval mode, at which
    the run is done, whatever its loss: target_loss only sets the knee then. null is off."""
    hold: Count = 2
    """How many full passes in a row must be at the target."""
    mode: Mode = "target"
    """"target" stops at the target loss; "fixed" trains so long at a constant rate."""
    fixed_updates: Count | None = None
    """Updates of the fixed mode (the paper: 5000)."""
    pass_every: Count | None = None
    """Updates between two full passes, at least; null is half an epoch."""
    pass_margin: Annotated[float, at_least(1)] = 1.2
    """A full pass is due once the smoothed loss is below this multiple of the target."""
    knee: float | Auto | None = "auto"
    """Smoothed loss below which the rate falls with the loss. auto: 0.5, or 1.4 times the target
    where that is higher; null is 1.4 times the target."""
    min_rate_factor: Share = 0.1
    """How far the rate may fall."""
    warmup_updates: Annotated[int, at_least(0)] = 0
    """Linear warm-up at the start."""
    smoothing_updates: Count = 16
    """Span of the moving average that smooths the loss."""
    patience: Count = 200
    """Updates without a gain of min_gain that count as a stalled descent."""
    min_gain: Annotated[float, Range(low=0, high=1, above=True, below=True)] = 0.02
    """Relative gain in smoothed loss that ends a stall."""
    growth: Annotated[float, above(1)] = 2.0
    """Factor by which a stall raises the rate."""
    max_rate_factor: Annotated[float, at_least(1)] = 8.0
    """Upper bound of the raises; 1 forbids them."""
    spike_factor: Annotated[float, above(1)] = 2.0
    """A loss above this multiple of the lowest smoothed loss is a spike ..."""
    spike_nats: Positive = 1.0
    """... if it is also this many nats above it ..."""
    spike_updates: Count = 3
    """... for so many observed losses in a row."""
    max_recoveries: Annotated[int, at_least(0)] = 3
    """Restores after a spike or NaN before the run gives up."""
    diversity_patience: Count | None = None
    """Stop after so many validations without growth of the held-out TTR; null is off."""
    diversity_min_delta: NotNegative = 0.005
    """Least growth of the TTR that counts."""

    @property
    def knee_loss(self) -> float:
        """The knee in nats per token, given or by the rule."""
        if isinstance(self.knee, (int, float)):
            return self.knee
        by_target = KNEE_OVER_TARGET * self.target_loss
        return by_target if self.knee is None else max(KNEE_NATS, by_target)

    def check(self) -> None:
        """Refuse the first option that is out of range.

        Raises:
            UserError: names it as schedule.NAME.
        """
        check_values(self, "schedule.", option="")
        above_target = f"above schedule.target_loss ({self.target_loss}), auto or null"
        _check("knee", self.knee, self.target_loss < self.knee_loss < math.inf, above_target)
        _check("mode", self.mode, self.mode in ("target", "fixed"), '"target" or "fixed"')


def check_budget(
    options: ScheduleOptions, *, learning_rate: float | Auto, max_updates: int
) -> None:
    """Refuse what fits neither the budget nor the mode.

    Raises:
        UserError: names the option as schedule.NAME.
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
