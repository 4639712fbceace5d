"""What a run measures on held-out data while it trains, and its state of the lowest held-out loss.

Shapes: N sequences, T tokens each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from common.hyperfit.time_spent import TimeSpent
from common.hyperfit.update import Updates
from common.measure.probe import probe_sequences
from common.model.frozen_prefix import FrozenPrefix
from common.tools.modules import copy_weights


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Figures of continued prompts, one point on the curve over training.

    Attributes:
        figures: by name.
        diversity: the figure that the schedule receives; None if it receives none.
    """

    figures: dict[str, float]
    diversity: float | None = None


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What is measured on held-out data.

    Attributes:
        sequences_NT: (N, T) ids whose loss and entropy are measured; None is off.
        continue_prompts: continues held-out prompts greedily and scores the result; None is off.
        continued_tokens: tokens that one call of it decodes, to estimate its cost.
    """

    sequences_NT: Tensor | None = None
    continue_prompts: Callable[[], CurvePoint] | None = None
    continued_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class Best:
    """The state of the lowest held-out loss.

    Attributes:
        loss: nats per token.
        update: updates made when it was measured.
        weights: the trainable parameters, by name, on the CPU.
    """

    loss: float
    update: int
    weights: dict[str, Tensor]


class Validation:
    """Measures held-out data and keeps the best state.

    Args:
        updates: of the run, prepared.
        held_out: what is measured.
        time: counts the seconds that this takes.

    Attributes:
        best: None before the first measurement, and without held-out sequences.
    """

    def __init__(self, updates: Updates, held_out: HeldOut, time: TimeSpent) -> None:
        self._updates, self._held_out, self._time = updates, held_out, time
        self._prefix: FrozenPrefix | None = None
        if updates.prefix is not None and held_out.sequences_NT is not None:
            self._prefix = updates.freeze_prefix(held_out.sequences_NT)
        self.best: Best | None = None

    def measure(self, update: int, *, with_prompts: bool) -> tuple[dict[str, float], float | None]:
        """Figures by name, and the diversity for the schedule, if any.

        Args:
            update: updates made so far.
            with_prompts: whether prompts are continued as well.
        """
        figures: dict[str, float] = {}
        if self._held_out.sequences_NT is not None:
            figures |= self._probe(self._held_out.sequences_NT)
            loss = figures["validation_loss"]
            if self.best is None or loss < self.best.loss:
                weights = copy_weights(self._updates.parameters)
                self.best = Best(loss=loss, update=update, weights=weights)
        if self._held_out.continue_prompts is None or not with_prompts:
            return figures, None
        with self._time.on("curve"):
            point = self._held_out.continue_prompts()
        return figures | point.figures, point.diversity

    def _probe(self, sequences_NT: Tensor) -> dict[str, Any]:
        updates = self._updates
        with self._time.on("validation"), updates.compute.autocast():
            probe = probe_sequences(
                updates.head,
                sequences_NT.long(),
                batch_size=updates.batches.micro_batch_size,
                start=updates.batches.first_target,
                prefix=self._prefix,
            )
        return {
            "validation_loss": probe.loss_nats.mean,
            "validation_accuracy": probe.gold_rank_zero_share.mean,
            "validation_entropy_nats": probe.entropy_nats.mean,
            "validation_top1_mass": probe.top1_mass.mean,
        }
