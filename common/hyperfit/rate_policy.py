"""How the learning rate depends on the smoothed loss: the run descends, then it settles.

The rate is `learning_rate * warm-up * scale * settle`.

* `scale` starts at 1. A stall of the descent raises it, and a recovery from a NaN or a spike halves
  it. After a recovery it is never raised again.
* `settle` starts at 1 and only falls. Below the knee it is the loss divided by the knee. A stall
  there halves it, because then the loss cannot fall further at this rate. `min_rate_factor` is its
  lower bound.

A stall of the descent may mean that the rate is too low, so the first answer is to raise it. If the
loss does not fall after that, the raise is undone and the run settles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.hyperfit.options import ScheduleOptions


@dataclass(kw_only=True)
class RateState:
    """The state of the policy; plain JSON values."""

    phase: str = "descend"
    scale: float = 1.0
    ceiling: float = 1.0
    """Largest value to which `scale` is raised."""
    settle: float = 1.0
    best: float | None = None
    """Smoothed loss at the last gain."""
    best_update: int = 0
    """Update of the last gain, from which a stall is counted."""
    raised_from: float | None = None
    """`scale` before a raise after which the loss has not fallen yet; else None."""


class RatePolicy:
    """Rate of one run.

    Args:
        options: of the schedule, already checked.
    """

    def __init__(self, options: ScheduleOptions) -> None:
        self._options = options
        self.state = RateState(ceiling=options.max_rate_factor)

    def factor(self, update: int) -> float:
        """Rate after `update` updates, relative to the learning rate."""
        updates = self._options.warmup_updates
        warmup = min(1.0, (update + 1) / updates) if updates else 1.0
        return warmup * self.state.scale * self.state.settle

    def updates_to(self, target: float, *, smoothed: float, slope: float) -> int:
        """Forecast: updates until the loss is at the target, at the rates this policy will give.

        Args:
            target: a loss.
            smoothed: the present smoothed loss.
            slope: change of log loss per update at a relative rate of 1; below 0. At a relative
                rate r it changes by sqrt(r) of that.
        """
        pieces = 64
        step = (math.log(smoothed) - math.log(target)) / pieces
        factors = (
            self.state.scale * self._settled(smoothed * math.exp(-step * piece))
            for piece in range(pieces)
        )
        return math.ceil(sum(step / -slope / math.sqrt(factor) for factor in factors))

    def follow(self, smoothed: float, update: int, learning_rate: float) -> list[tuple[str, str]]:
        """Adapt to the smoothed loss after `update` updates.

        Args:
            smoothed: the loss.
            update: updates made so far.
            learning_rate: the rate that `factor` is relative to, for the messages.

        Returns:
            Pairs (event, message).
        """
        state, events = self.state, []
        if state.phase == "descend" and smoothed < self._options.knee_loss:
            state.phase, state.best_update = "settle", update
            events.append(
                (
                    "settle",
                    f"smoothed loss {smoothed:.4g} is below the knee {self._options.knee_loss:g}",
                )
            )
        if state.phase == "settle":
            state.settle = self._settled(smoothed)
        if state.best is None or smoothed < state.best * (1 - self._options.min_gain):
            state.best, state.best_update, state.raised_from = smoothed, update, None
        elif update - state.best_update >= self._options.patience:
            state.best_update = update
            change = self._answer_stall()
            if change:
                rate = learning_rate * self.factor(update)
                gain = f"no gain on {state.best:.4g} in {self._options.patience} updates"
                events.append(("stall", f"{gain}: rate {change} to {rate:.3g}"))
        return events

    def halve(self) -> None:
        """Halve the rate after a divergence, and forbid raises from now on."""
        self.state.scale /= 2
        self.state.ceiling = self.state.scale

    def rewind(self, update: int) -> None:
        """Count stalls from `update` again, to which the run has gone back."""
        self.state.best, self.state.best_update, self.state.raised_from = None, update, None

    def _settled(self, smoothed: float) -> float:
        return min(
            self.state.settle,
            max(self._options.min_rate_factor, smoothed / self._options.knee_loss),
        )

    def _answer_stall(self) -> str | None:
        state = self.state
        raised = min(state.scale * self._options.growth, state.ceiling)
        if state.phase == "descend" and state.raised_from is None and raised > state.scale:
            state.raised_from, state.scale = state.scale, raised
            return "raised"
        if state.raised_from is not None:
            state.scale, state.raised_from = state.raised_from, None
        state.phase = "settle"
        before, state.settle = state.settle, max(state.settle / 2, self._options.min_rate_factor)
        return "lowered" if state.settle < before else None
