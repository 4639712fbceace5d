"""Linear warm-up, then linear decay to zero: the schedule of pretraining.

It implements the loop's `Schedule`, so that pretraining and hyperfitting share one loop. A run ends
early only at a NaN, with the weights of the last checkpoint. It does not try again by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from common.errors import UserError
from common.hyperfit.loss_to_zero import Action


class LinearDecay:
    """Learning rate of a run of known length.

    Args:
        learning_rate: its peak.
        updates: length of the run.
        warmup_updates: updates of linear warm-up at the start.

    Raises:
        UserError: a value out of range.
    """

    def __init__(self, *, learning_rate: float, updates: int, warmup_updates: int) -> None:
        for option, value, fits, expected in (
            ("learning_rate", learning_rate, 0 < learning_rate < math.inf, "a positive number"),
            ("updates", updates, updates >= 1, "at least 1"),
            ("warmup_updates", warmup_updates, warmup_updates >= 0, "at least 0"),
        ):
            if not fits:
                raise UserError(
                    expected=f"{option} to be {expected}", got=f"{value}", fix=f"change {option}"
                )
        self.learning_rate, self.updates = learning_rate, updates
        self.warmup_updates = warmup_updates
        self._done = 0
        self._outcome: str | None = None
        self._losses: list[float] = []
        self._events: list[dict[str, Any]] = []

    def rate_in(self, pending: int) -> float:
        """Learning rate of the update after `pending` ones that have not been observed yet."""
        update = self._done + pending
        if update < self.warmup_updates:
            return self.learning_rate * (update + 1) / self.warmup_updates
        left = self.updates - update
        return self.learning_rate * left / max(self.updates - self.warmup_updates, 1)

    @property
    def wants_rate(self) -> bool:
        return False

    @property
    def phase(self) -> str:
        return "warm-up" if self._done < self.warmup_updates else "decay"

    @property
    def outcome(self) -> str | None:
        """None, then "budget_exhausted" (all updates are made) or "diverged"."""
        return self._outcome

    @property
    def message(self) -> str:
        if self._outcome == "diverged":
            return "the training loss became NaN; try a lower learning rate"
        return f"{self._done} of {self.updates} updates"

    @property
    def updates_left(self) -> int:
        return self.updates - self._done

    @property
    def final_loss(self) -> float | None:
        """Mean minibatch loss of the last window, since pretraining makes no full pass; None
        after a divergence, because the weights of that window are lost."""
        return sum(self._losses) / len(self._losses) if self._losses else None

    @property
    def final_accuracy(self) -> float | None:
        """Always None: pretraining has no full pass."""
        return None

    @property
    def healthy(self) -> bool:
        return self._outcome != "diverged"

    def observe(self, losses: list[float], accuracies: Sequence[float] = ()) -> Action:
        self._done += len(losses)
        if not all(math.isfinite(loss) for loss in losses):
            self._outcome, self._losses = "diverged", []
            self._events.append({"update": self._done, "event": "nan", "message": self.message})
            return Action.STOP
        self._losses = losses
        if self._done >= self.updates:
            self._outcome = "budget_exhausted"
        return Action.STOP if self._outcome else Action.CONTINUE

    def start_at(self, learning_rate: float, why: str) -> None:
        raise AssertionError("never asked for")

    def full_pass(self, loss: float, accuracy: float) -> Action:
        raise AssertionError("never asked for")

    def restored(self, update: int) -> None:
        raise AssertionError("never asked for")

    def diversity(self, value: float) -> Action:
        return Action.CONTINUE

    def drain_events(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._done, "outcome": self._outcome, "losses": self._losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._done, self._outcome = state["done"], state["outcome"]
        self._losses = list(state["losses"])
