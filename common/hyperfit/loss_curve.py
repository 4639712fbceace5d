"""Smoothed training loss with a bounded memory of its past, and the slope of its recent part.

A scheduler needs three things: the present loss (a bias-corrected exponential moving average); the
loss at an earlier update, from which a restored run continues; and how fast the loss falls, for the
forecast. Whenever there are too many points, every second one is dropped. So the state stays small,
and the points still cover the whole run evenly.

The slope is fitted against a clock, not against updates. The caller advances the clock by more at a
higher learning rate. Fitted against updates, a falling rate would look like a failing descent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_MOST_POINTS = 128
_FIT_POINTS = 16
_LEAST_LOSS = 1e-6  # fp32 cross-entropy rounds to exactly 0.0, whose log does not exist


@dataclass(kw_only=True)
class LossCurve:
    """One smoothed curve. It holds plain JSON values only, so `dataclasses.asdict` is its state."""

    ema: float = 0.0
    weight: float = 0.0
    count: int = 0
    lowest: float | None = None
    """Lowest smoothed loss since the average has seen half of its span; None before."""
    clock: float = 0.0
    points: list[list[float]] = field(default_factory=list)
    """[update, clock, log of the smoothed loss] every `stride` updates."""
    stride: int = 1

    @property
    def smoothed(self) -> float | None:
        """Moving average in nats per token; None before the first loss."""
        return self.ema / self.weight if self.weight else None

    @property
    def reference(self) -> float | None:
        """The level that spikes are compared with: the lowest, or at first the present one."""
        if self.lowest is not None:
            return self.lowest
        return self.smoothed if self.count >= 3 else None

    def add(self, loss: float, *, update: int, elapsed: float, span: int) -> None:
        """Add the finite loss of `update`, after the clock has advanced by `elapsed`."""
        self.ema += (loss - self.ema) / span
        self.weight += (1 - self.weight) / span
        self.count += 1
        self.clock += elapsed
        smoothed = self.ema / self.weight
        if self.count > span // 2:
            self.lowest = smoothed if self.lowest is None else min(smoothed, self.lowest)
        if update % self.stride == 0:
            self.points.append([update, self.clock, math.log(max(smoothed, _LEAST_LOSS))])
        if len(self.points) > _MOST_POINTS:
            self.stride *= 2
            self.points = [point for point in self.points if point[0] % self.stride == 0]

    def rewind(self, update: int) -> None:
        """Go back to the state after `update` updates."""
        self.points = [point for point in self.points if point[0] <= update]
        if not self.points:
            self.ema = self.weight = self.clock = 0.0
            self.count, self.lowest, self.stride = 0, None, 1
            return
        _, self.clock, level = self.points[-1]
        self.ema, self.weight = math.exp(level), 1.0
        self.lowest = math.exp(min(point[2] for point in self.points))

    def slope(self) -> float | None:
        """Least-squares change of log loss per unit of the clock, over the last third of the run;
        None with too few points."""
        window = self.points[-max(_FIT_POINTS, len(self.points) // 3) :]
        if len(window) < _FIT_POINTS:
            return None
        mean = sum(clock for _, clock, _ in window) / len(window)
        spread = sum((clock - mean) ** 2 for _, clock, _ in window)
        return sum((clock - mean) * level for _, clock, level in window) / spread
