"""How the learning rate answers to the smoothed loss: descend, then settle; what a stall changes.

The rate is `learning_rate * warm-up * scale * settle`. `scale` is raised by a stalled descent and
halved by a recovery; `settle` only falls: with the loss once that is below the knee, and by half
when the loss stalls there, because then the floor is the rate's own. A stall in the descent is
first taken for too low a rate; if raising it brought no gain, the raise is undone and settling
begins. A rate that diverged is never tried again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.hyperfit.options import ScheduleOptions


@dataclass(kw_only=True)
class RateState:
    """What changes; plain JSON values."""

    phase: str = "descend"
    scale: float = 1.0
    ceiling: float = 1.0
    """Raises of `scale` stop here."""
    settle: float = 1.0
    best: float | None = None
    """Smoothed loss of the last gain, and its update: the reference of a stall."""
    best_update: int = 0
    raised_from: float | None = None
    """`scale` before a raise that has brought no gain yet."""


class RatePolicy:
    """Rate of one run.

    Args:
        options: checked ones.
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
        """Updates until a loss that falls with `slope` (below 0, change of log loss per unit of the
        square root of the relative rate) is at the target, at the rates this policy will give."""
        pieces = 64
        step = (math.log(smoothed) - math.log(target)) / pieces
        factors = (
            self.state.scale * self._settled(smoothed * math.exp(-step * piece))
            for piece in range(pieces)
        )
        return math.ceil(sum(step / -slope / math.sqrt(factor) for factor in factors))

    def follow(self, smoothed: float, update: int, learning_rate: float) -> list[tuple[str, str]]:
        """Adapt to the smoothed loss after `update` updates; returns (event, message) pairs, which
        tell rates of a descent at `learning_rate`."""
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
        """Answer a divergence."""
        self.state.scale /= 2
        self.state.ceiling = self.state.scale

    def rewind(self, update: int) -> None:
        """Forget what stalls were measured against after `update`."""
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
