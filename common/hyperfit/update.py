"""The update: batch, forward, backward, clip, step. One visible block, `Updates.make`.

It does not synchronise with the device. It returns tensors on the device, which the loop reads at
its next log line.

Shapes: N sequences, T tokens each, B sequences per update, M per micro-batch, D hidden size.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from common.hyperfit.checkpoint import pack, unpack
from common.hyperfit.data_order import DataOrder, batched
from common.model.activation_checkpointing import blocks_to_checkpoint, checkpointed
from common.model.frozen_prefix import FrozenPrefix, freeze_prefix
from common.model.head import LogitsHead
from common.model.token_stats import TokenSums
from common.tools.device import Compute
from common.tools.modules import copy_weights, eval_mode, load_weights, trainable_parameters


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The training set and how it is divided into batches.

    Attributes:
        sequences_NT: (N, T) training ids, on the CPU, any integer type.
        seed: of the order.
        batch_size: sequences per update.
        micro_batch_size: sequences per forward pass. Sums, not means, are accumulated, so that this
            number changes the memory and not the result.
        first_target: the first position that is predicted, at least 1. The tokens before it are
            given, like a prompt, and have no loss.
    """

    sequences_NT: Tensor
    seed: int
    batch_size: int
    micro_batch_size: int
    first_target: int = 1

    @cached_property
    def order(self) -> DataOrder:
        """Which sequences each update takes."""
        return DataOrder(len(self.sequences_NT), batch_size=self.batch_size, seed=self.seed)

    @property
    def tokens(self) -> int:
        """Tokens of the sequences of one update."""
        return self.batch_size * self.sequences_NT.shape[1]


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """How an update is made.

    Attributes:
        max_gradient_norm: gradients of a larger norm are clipped to it; 0 is off.
        compile_body: use torch.compile for the decoder in updates. Evaluation is not compiled,
            since each of its batch shapes would need a compilation.
        checkpoint_activations: compute the blocks again in the backward pass of updates instead of
            keeping their activations, see `common.model.activation_checkpointing`.
        stats: whether to measure the entropy too, on the last batch before each log line.
    """

    max_gradient_norm: float = 1.0
    compile_body: bool = False
    checkpoint_activations: bool = False
    stats: bool = True


@dataclass(frozen=True, kw_only=True)
class Updated:
    """The figures of one update, still on the device.

    Attributes:
        loss: mean over the batch's predicted tokens, before the step; nats.
        accuracy: share of these tokens that are the model's first choice.
        gradient_norm: before clipping.
        stats: sums of the entropy probe; None where they were not measured.
    """

    loss: Tensor
    accuracy: Tensor
    gradient_norm: Tensor
    stats: TokenSums | None


class Updates:
    """Makes the updates of one run.

    Args:
        head: of the model to train; only parameters that require gradients are trained.
        batches: the training set.
        optimizer: over the trainable parameters.
        compute: device and precision.
        options: how an update is made.
    """

    def __init__(
        self,
        *,
        head: LogitsHead,
        batches: Batches,
        optimizer: torch.optim.Optimizer,
        compute: Compute,
        options: StepOptions,
    ) -> None:
        self.head, self.batches, self.optimizer = head, batches, optimizer
        self.compute, self.options = compute, options
        self.parameters = trainable_parameters(head.model)
        self.rate = 0.0  # of the last update
        self.prefix: FrozenPrefix | None = None
        self._trained_head, self._trained_prefix = head, self.prefix

    def prepare(self) -> None:
        """Compute the states below the first trained block once; checkpoint and compile the rest.

        The blocks below it are the frozen prefix. An update then runs only the blocks above; where
        there is no such prefix, it runs the whole decoder.

        Raises:
            UserError: activations shall be checkpointed, and the model has no list of blocks.
        """
        _assert_no_dropout(self.head, self._to_device(self.batches.sequences_NT[:2].long()))
        self.prefix = self.freeze_prefix(self.batches.sequences_NT)
        self._trained_head, self._trained_prefix = copy.copy(self.head), copy.copy(self.prefix)
        trained = self._trained_prefix or self._trained_head
        if self.options.checkpoint_activations:
            trained.body = checkpointed(trained.body, blocks_to_checkpoint(self.head.body))
        if self.options.compile_body:
            trained.body = torch.compile(trained.body, dynamic=False)

    def freeze_prefix(self, sequences_NT: Tensor) -> FrozenPrefix | None:
        """The states that enter the first trained block, for these sequences; None where that is
        not possible, see `common.model.frozen_prefix`."""
        return freeze_prefix(
            self.head,
            sequences_NT,
            batch_size=self.batches.micro_batch_size,
            device=self.compute.device,
            autocast=self.compute.autocast,
        )

    def make(self, rows_B: Sequence[int], rate: float, *, probed: bool = False) -> Updated:
        """One update on these sequences. It does not synchronise with the device."""
        self.rate = rate
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # which a compiled step reads
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

        sequences_NT, first = self.batches.sequences_NT, self.batches.first_target
        tokens = len(rows_B) * (sequences_NT.shape[1] - first)
        loss_sum, correct = torch.zeros(2, device=self.compute.device).unbind()
        stats: TokenSums | None = None
        for rows_M in batched(rows_B, self.batches.micro_batch_size):
            ids_MT = self._to_device(sequences_NT[rows_M].long())
            with self.compute.autocast():
                if self._trained_prefix is None:
                    hidden_MTD = self._trained_head.hidden(ids_MT)
                else:
                    hidden_MTD = self._trained_prefix.hidden(rows_M)
                part = self._trained_head.train_loss(
                    hidden_MTD[:, first - 1 :], ids_MT[:, first - 1 :], stats=probed
                )
            # The sum of each micro-batch is divided by the tokens of the whole batch. A mean of
            # means would give the tokens of a smaller last micro-batch too much weight.
            (part.loss_sum / tokens).backward()
            loss_sum += part.loss_sum.detach()
            correct += part.correct
            if part.stats is not None:
                stats = part.stats if stats is None else stats + part.stats

        limit = self.options.max_gradient_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), limit)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Updated(
            loss=loss_sum / tokens, accuracy=correct / tokens, gradient_norm=norm, stats=stats
        )

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put weights, optimizer and random numbers back after the block."""
        weights = copy_weights(self.parameters)
        optimizer = pack(self.optimizer.state_dict())  # 8-bit moments cannot be deep-copied
        device = self.compute.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
        load_weights(self.head.model, weights)
        self.optimizer.load_state_dict(unpack(optimizer))

    def full_pass(self, rows: Sequence[int] | None = None) -> tuple[float, float]:
        """Loss and accuracy of the training set or of some rows of it, see `loss_and_accuracy`."""
        return loss_and_accuracy(
            self.head,
            self.batches.sequences_NT,
            self.batches.micro_batch_size,
            self.compute,
            self.prefix,
            first_target=self.batches.first_target,
            rows=rows,
        )

    def _to_device(self, ids_BT: Tensor) -> Tensor:
        device = self.compute.device
        if device.type == "cuda":
            ids_BT = ids_BT.pin_memory()  # from pageable memory the copy would block
        return ids_BT.to(device, non_blocking=True)


@torch.no_grad()
def loss_and_accuracy(
    head: LogitsHead,
    sequences_NT: Tensor,
    batch_size: int,
    compute: Compute,
    prefix: FrozenPrefix | None = None,
    *,
    first_target: int = 1,
    rows: Sequence[int] | None = None,
) -> tuple[float, float]:
    """Loss and accuracy of a pass in eval mode, by which the schedule decides.

    Args:
        head: of the model.
        sequences_NT: (N, T) ids.
        batch_size: sequences per forward pass.
        compute: device and precision.
        prefix: of these sequences, if their states are kept.
        first_target: the first position that is predicted.
        rows: the sequences to measure; None is all.

    Returns:
        Mean loss over all tokens from `first_target` on, nats per token, and the share of these
        tokens that are the model's first choice.
    """
    rows = range(len(sequences_NT)) if rows is None else rows
    before = first_target - 1
    sums: list[Tensor] = []
    with eval_mode(head.model), compute.autocast():
        for rows_B in batched(rows, batch_size):
            ids_BT = sequences_NT[rows_B].long().to(compute.device)
            hidden_BTD = head.hidden(ids_BT) if prefix is None else prefix.hidden(rows_B)
            part = head.train_loss(hidden_BTD[:, before:], ids_BT[:, before:], stats=False)
            sums.append(torch.stack([part.loss_sum, part.correct]))
    # One transfer for the whole pass. The sum over thousands of batches needs float64.
    nats, correct = torch.stack(sums).cpu().double().sum(dim=0).tolist()
    tokens = len(rows) * (sequences_NT.shape[1] - first_target)
    return nats / tokens, correct / tokens


@torch.no_grad()
def _assert_no_dropout(head: LogitsHead, ids_BT: Tensor) -> None:
    """A model with dropout cannot reach zero loss; the domain turns it off when it loads the model.

    Dropout rates are in modules, in attributes of attention blocks and in configurations. So this
    runs the model: without dropout, two passes in training mode are equal.
    """
    assert head.model.training
    first_BTD, second_BTD = (head.hidden(ids_BT) for _ in range(2))
    assert torch.equal(first_BTD, second_BTD), "dropout is on: two training-mode passes differ"
