"""The result of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from common.hyperfit.validation import Best


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of a training run.

    Attributes:
        outcome: of the schedule: "reached", "budget_exhausted", "diverged", "diversity_stopped".
        message: the schedule's sentence about the outcome.
        final_loss: nats per token, of the last full pass in eval mode; None after a divergence.
        final_accuracy: of that pass, the share of tokens that are the model's first choice; None
            without such a pass.
        updates: optimizer updates that led to the final weights, without those that were undone by
            a return to a checkpoint.
        epochs: `updates` in passes over the training set.
        seconds: spent training, earlier processes of a resumed run and evaluation included.
        tokens_per_second: trained tokens divided by `seconds`.
        seconds_by_part: what these seconds were spent on, see `common.hyperfit.time_spent`.
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
