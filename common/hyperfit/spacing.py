"""When a run measures itself and saves its state, so that neither takes a large part of its time.

The points are fixed before the first update, from a cost in trained tokens, never from a clock: a
resumed run must decide as the uninterrupted one did. Points of measurement stand close together at
first, where the held-out loss has its minimum, and ever further apart, as the squares do.

What things cost against one trained token (forward, backward and AdamW of all weights; a frozen
prefix makes an update cheaper, which `update_share` allows for), measured in fp32 on one core of a
busy machine, with Llamas of 8.5 M parameters (updates of 4 x 256 tokens) and of 135 M (4 x 128): a
token of a forward pass 0.30 and 0.30; a greedily decoded one, 12 prompts at a time, 1.8 and 1.6; a
checkpoint 1,700 and 2,600 tokens. The figures for other devices are not measured but estimated: a
GPU computes a hundred times faster, while each step of decoding waits for its kernels to be
launched and files are written as before.
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

# Of the time of updates: half of the 15 % that all but updates may take. The rest is for what
# cannot be spaced: compilation, the states that a frozen prefix gives, full passes near the target.
# A set of a few thousand tokens has too few updates to pay for the measurements that there are in
# any case, and takes more.
VALIDATION_SHARE = CURVE_SHARE = 0.03
CHECKPOINT_SHARE = 0.015
# How long a run is taken to be: ours reach their targets in 12 to 20 epochs.
USUAL_EPOCHS = 12
# Between the first and the last: fewer show no course and miss the minimum, more add nothing.
LEAST_VALIDATIONS, LEAST_CURVE_POINTS, MOST_POINTS = 3, 2, 24


class Spacing(Protocol):
    """Points on the axis of updates."""

    def passed(self, update: int) -> int:
        """How many points there are in 1..update."""
        ...


@dataclass(frozen=True, kw_only=True)
class Regular:
    """A point every so many updates."""

    every: int

    def passed(self, update: int) -> int:
        """How many points there are in 1..update."""
        return update // self.every


@dataclass(frozen=True, kw_only=True)
class Widening:
    """Point k of `points` at `horizon` (k / points)^2; past the horizon the last gap goes on.

    Attributes:
        horizon: updates.
        points: at least 1; where they stand closer than updates do, some coincide.
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
    """Weights that an update computes with, by all weights of the model.

    Args:
        model: a transformers causal LM, peft-wrapped or not.
        kept: whether what enters the first trained block is computed once; the output layer takes
            part in any case.
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
            what they cost.
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
    """What a run does between two points, and where.

    Attributes:
        update_tokens: of the sequences of one update.
        updates_per_epoch: updates in one pass over the training set.
        budget: most updates there can be.
        update_share: weights that an update computes with, by all weights: less than 1 where what
            enters the trained blocks is kept.
        device: its type, "cpu" or "cuda".
    """

    update_tokens: int
    updates_per_epoch: float
    budget: int
    update_share: float
    device: str

    def points(self, cadence: Cadence, *, heldout_tokens: int, continued_tokens: int) -> Points:
        """Where the cadence wants them, and by their cost where it leaves that open.

        Args:
            cadence: the user's.
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
        """Where the held-out loss is measured.

        Args:
            tokens: of the held-out sequences. They go through what an update goes through.
        """
        return self._widening(PROBED_COST * tokens, VALIDATION_SHARE, LEAST_VALIDATIONS)

    def curve_points(self, tokens: int) -> Widening:
        """Where prompts are continued.

        Args:
            tokens: decoded at each point, by the whole model.
        """
        each = DECODED_COST.get(self.device, ACCELERATED_DECODED_COST) / self.update_share
        return self._widening(each * tokens, CURVE_SHARE, LEAST_CURVE_POINTS)

    def checkpoints(self) -> Regular:
        """Where the state is saved: it is the trained weights, as many as an update computes with
        or fewer, so that its cost in tokens is much the same for all models."""
        cost = CHECKPOINT_COST.get(self.device, ACCELERATED_CHECKPOINT_COST)
        return Regular(every=math.ceil(cost / (CHECKPOINT_SHARE * self.update_tokens)))

    def _widening(self, cost_tokens: float, share: float, least: int) -> Widening:
        horizon = min(math.ceil(USUAL_EPOCHS * self.updates_per_epoch), self.budget)
        trained = share * horizon * self.update_tokens
        # Both ends are measured in any case.
        affordable = int(trained / cost_tokens) - 2 if cost_tokens else MOST_POINTS
        return Widening(horizon=horizon, points=min(max(affordable, least), MOST_POINTS))
