"""When a run measures itself and saves its state, so that neither takes a large part of its time.

The points are decided before the first update, from a cost in trained tokens. A clock would not do,
because a resumed run must measure and save at the same updates as an uninterrupted one. Points of
measurement are close together at first, where the held-out loss has its minimum. Then they are ever
further apart, like the square numbers.

The unit of cost is one trained token: forward, backward and AdamW of all weights. (Where a frozen
prefix makes updates cheaper, `update_share` corrects for it.) Costs were measured in fp32 on one
core of a busy machine, with Llamas of 8.5 M parameters (updates of 4 x 256 tokens) and of 135 M
parameters (4 x 128):

    a token in a forward pass                        0.30 and 0.30
    a greedily decoded token, 12 prompts at a time   1.8 and 1.6
    a checkpoint                                     1,700 and 2,600

The figures for other devices are estimates: a GPU computes a hundred times faster, but every step
of decoding waits for the launch of its kernels, and files are written as slowly as before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

PROBED_COST = 1 / 3
DECODED_COST = {"cpu": 2.0}
ACCELERATED_DECODED_COST = 100.0
CHECKPOINT_COST = {"cpu": 2_000}
ACCELERATED_CHECKPOINT_COST = 300_000

# Shares of the time of updates, 7.5 % together. All but updates may take 15 %. The other half is
# for what cannot be spaced: compilation, states of a frozen prefix, full passes near the target.
# A training set of a few thousand tokens has so few updates that the least number of measurements
# takes a larger share.
VALIDATION_SHARE = CURVE_SHARE = 0.03
CHECKPOINT_SHARE = 0.015
# The assumed length of a run: ours reach their targets in 12 to 20 epochs.
USUAL_EPOCHS = 12
# Points between the first and the last. With fewer the curve misses its minimum; more add nothing.
LEAST_VALIDATIONS, LEAST_CURVE_POINTS, MOST_POINTS = 3, 2, 24


class Spacing(Protocol):
    """Points in time, counted in updates."""

    def passed(self, update: int) -> int:
        """How many points there are in 1..update."""
        ...


@dataclass(frozen=True, kw_only=True)
class Regular:
    """A point every `every` updates."""

    every: int

    def passed(self, update: int) -> int:
        """How many points there are in 1..update."""
        return update // self.every


@dataclass(frozen=True, kw_only=True)
class Widening:
    """Point k of `points` is at update `horizon` (k / points)^2. After the horizon the points
    continue with the last gap.

    Attributes:
        horizon: in updates.
        points: at least 1. Points that are less than one update apart coincide.
    """

    horizon: int
    points: int

    def passed(self, update: int) -> int:
        """How many points there are in 1..update."""
        if update < self.horizon:
            return math.isqrt(self.points**2 * update // self.horizon)
        before_last = -(-self.horizon * (self.points - 1) ** 2 // self.points**2)
        last_gap = max(self.horizon - before_last, 1)
        return self.points + (update - self.horizon) // last_gap


def due(spacing: Spacing, before: int, after: int) -> bool:
    """Whether a point lies in before+1..after."""
    return spacing.passed(after) > spacing.passed(before)


def update_share(model: Any, *, kept: bool) -> float:
    """Share of the model's weights that an update computes with.

    Args:
        model: a transformers causal LM, peft-wrapped or not.
        kept: whether a frozen prefix is used: the input of the first trained block is computed once
            and kept. The output layer takes part in every update.
    """
    if not kept:
        return 1.0
    every = sum(p.numel() for p in model.parameters())
    output = model.get_output_embeddings().weight
    trained = {id(p): p.numel() for p in model.parameters() if p.requires_grad}
    return sum((trained | {id(output): output.numel()}).values()) / every


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """How often a loop logs, saves and measures, in updates.

    Attributes:
        log_every: updates between two log lines, at which the loop synchronises with the device.
        checkpoint_every: updates between checkpoints, rounded up to a log line; None spaces them by
            their cost.
        validate_every: the same for held-out measurements.
    """

    log_every: int = 8
    checkpoint_every: int | None = None
    validate_every: int | None = None


@dataclass(frozen=True, kw_only=True)
class Points:
    """When a run measures and saves.

    Attributes:
        validations: of the held-out loss.
        curve: of continued prompts.
        checkpoints: of the state.
    """

    validations: Spacing
    curve: Spacing
    checkpoints: Spacing


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The size of a run's updates and its device, from which the points are computed.

    Attributes:
        update_tokens: tokens of one update.
        updates_per_epoch: updates in one pass over the training set.
        budget: most updates of the run.
        update_share: share of the weights that an update computes with, from `update_share`.
        device: its type, "cpu" or "cuda".
    """

    update_tokens: int
    updates_per_epoch: float
    budget: int
    update_share: float
    device: str

    def points(self, cadence: Cadence, *, heldout_tokens: int, continued_tokens: int) -> Points:
        """The points that the cadence sets, and by their cost those that it leaves open.

        Args:
            cadence: of the run's options.
            heldout_tokens: see `validations`.
            continued_tokens: see `curve_points`.
        """
        validations: Spacing = self.validations(heldout_tokens)
        curve: Spacing = self.curve_points(continued_tokens)
        checkpoints = self.checkpoints()
        if cadence.validate_every is not None:
            validations = curve = Regular(every=cadence.validate_every)
        if cadence.checkpoint_every is not None:
            checkpoints = Regular(every=cadence.checkpoint_every)
        return Points(validations=validations, curve=curve, checkpoints=checkpoints)

    def validations(self, tokens: int) -> Widening:
        """When the held-out loss is measured.

        Args:
            tokens: of the held-out sequences. They pass through the same weights as an update.
        """
        return self._widening(PROBED_COST * tokens, VALIDATION_SHARE, LEAST_VALIDATIONS)

    def curve_points(self, tokens: int) -> Widening:
        """When prompts are continued.

        Args:
            tokens: decoded at each point, by the whole model.
        """
        each = DECODED_COST.get(self.device, ACCELERATED_DECODED_COST) / self.update_share
        return self._widening(each * tokens, CURVE_SHARE, LEAST_CURVE_POINTS)

    def checkpoints(self) -> Regular:
        """When the state is saved. A state is mostly the trained weights. An update computes with
        at least as many, so the cost in tokens is much the same for all models."""
        cost = CHECKPOINT_COST.get(self.device, ACCELERATED_CHECKPOINT_COST)
        return Regular(every=math.ceil(cost / (CHECKPOINT_SHARE * self.update_tokens)))

    def _widening(self, cost_tokens: float, share: float, least: int) -> Widening:
        horizon = min(math.ceil(USUAL_EPOCHS * self.updates_per_epoch), self.budget)
        trained = share * horizon * self.update_tokens
        # The first and the last point are always measured.
        affordable = int(trained / cost_tokens) - 2 if cost_tokens else MOST_POINTS
        return Widening(horizon=horizon, points=min(max(affordable, least), MOST_POINTS))
