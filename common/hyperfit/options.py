"""The options of the loss-to-zero schedule: one set, with one set of defaults, for the training
loop, the `Trainer` callback and anybody's own loop.

The defaults are measured ones (see LOG.md): between 1.4 and 10 times the target a later knee is
faster, and the rate hardly rattles above 1.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from common.errors import UserError

Mode = Literal["target", "fixed"]
Auto = Literal["auto"]
KNEE_OVER_TARGET = 1.4
KNEE_NATS = 0.5
"""Where the rate begins to fall by default: batches of a real model, met once per epoch, rattle
below that at the rate of the descent, and what they gain there is copies (LOG.md)."""


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """When the rate falls and when the run ends (losses in nats per token)."""

    target_loss: float = 0.1
    """Training loss, of a full pass in eval mode, at which the run is done."""
    target_accuracy: float | None = None
    """Share of training tokens whose first choice is right, of a full pass in eval mode, at which
    the run is done, whatever its loss: target_loss only sets the knee then. null is off."""
    hold: int = 2
    """How many full passes in a row must be at the target."""
    mode: Mode = "target"
    """"target" stops at the target loss; "fixed" trains so long at a constant rate."""
    fixed_updates: int | None = None
    """Updates of the fixed mode (the paper: 5000)."""
    pass_every: int | None = None
    """Updates between two full passes, at least; null is half an epoch."""
    pass_margin: float = 1.2
    """A full pass is due once the smoothed loss is below this multiple of the target."""
    knee: float | Auto | None = "auto"
    """Smoothed loss below which the rate falls with the loss. auto: 0.5, or 1.4 times the target
    where that is higher; null is 1.4 times the target."""
    min_rate_factor: float = 0.1
    """How far the rate may fall."""
    warmup_updates: int = 0
    """Linear warm-up at the start."""
    smoothing_updates: int = 16
    """Span of the moving average that smooths the loss."""
    patience: int = 200
    """Updates without a gain of min_gain that count as a stalled descent."""
    min_gain: float = 0.02
    """Relative gain in smoothed loss that ends a stall."""
    growth: float = 2.0
    """Factor by which a stall raises the rate."""
    max_rate_factor: float = 8.0
    """Upper bound of the raises; 1 forbids them."""
    spike_factor: float = 2.0
    """A loss above this multiple of the lowest smoothed loss is a spike ..."""
    spike_nats: float = 1.0
    """... if it is also this many nats above it ..."""
    spike_updates: int = 3
    """... for so many observed losses in a row."""
    max_recoveries: int = 3
    """Restores after a spike or NaN before the run gives up."""
    diversity_patience: int | None = None
    """Stop after so many validations without growth of the held-out TTR; null is off."""
    diversity_min_delta: float = 0.005
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
        for name in ("hold", "smoothing_updates", "patience", "spike_updates"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("fixed_updates", "pass_every", "diversity_patience"):
            value = getattr(self, name)
            _check(name, value, value is None or value >= 1, "at least 1")
        for name in ("warmup_updates", "max_recoveries"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")
        for name in ("target_loss", "spike_nats"):
            value = getattr(self, name)
            _check(name, value, 0 < value < math.inf, "a positive number")
        accuracy = self.target_accuracy
        _check("target_accuracy", accuracy, accuracy is None or 0 < accuracy <= 1, "in (0, 1]")
        above_target = f"above schedule.target_loss ({self.target_loss}), auto or null"
        _check("knee", self.knee, self.target_loss < self.knee_loss < math.inf, above_target)
        _check("min_rate_factor", self.min_rate_factor, 0 < self.min_rate_factor <= 1, "in (0, 1]")
        _check("min_gain", self.min_gain, 0 < self.min_gain < 1, "in (0, 1)")
        for name in ("growth", "spike_factor"):
            value = getattr(self, name)
            _check(name, value, 1 < value < math.inf, "above 1")
        for name in ("pass_margin", "max_rate_factor"):
            value = getattr(self, name)
            _check(name, value, 1 <= value < math.inf, "at least 1")
        delta = self.diversity_min_delta
        _check("diversity_min_delta", delta, 0 <= delta < math.inf, "at least 0")
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
    _check("learning_rate", learning_rate, fits, "a positive number or auto")
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
