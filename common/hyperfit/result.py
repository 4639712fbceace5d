"""How a training run ended."""

from __future__ import annotations

from dataclasses import dataclass

from common.hyperfit.validation import Best


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended.

    Attributes:
        outcome: of the schedule: "reached", "budget_exhausted", "diverged", "diversity_stopped".
        message: the schedule's sentence about it.
        final_loss: nats per token of the last full eval-mode pass; None when it diverged before.
        final_accuracy: share of its tokens whose first choice is right; None without such a pass.
        updates: optimizer updates on the surviving trajectory.
        epochs: `updates` in passes over the training set.
        seconds: spent training, earlier parts of a resumed run included.
        tokens_per_second: trained tokens by these seconds, evaluation included.
        seconds_by_part: where these seconds went, see `common.hyperfit.time_spent`.
        best: the state of the lowest held-out loss; None without held-out sequences.
    """

    outcome: str
    message: str
    final_loss: float | None
    final_accuracy: float | None
    updates: int
    epochs: float
    seconds: float
    tokens_per_second: float
    seconds_by_part: dict[str, float]
    best: Best | None
