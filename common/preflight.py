"""Checks and estimates before any weights are loaded.

A run whose options do not fit is refused before its output folder is made and before an earlier run
is overwritten. `--dry-run` prints the same lines.

Shapes: N sequences, T tokens each.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.config import RunConfig
from common.errors import UserError
from common.hyperfit.disk import check_disk, disk_need
from common.hyperfit.memory import training_gib
from common.hyperfit.optimizer import BYTES_OF_MOMENTS, check_compiler
from common.hyperfit.tracker import check_tracker
from common.model.activation_checkpointing import blocks_to_checkpoint
from common.model.saved_weights import dtype_to_save
from common.model.tune import prepare_tuning, tuning_notices
from common.tools.device import pick_compute, pick_device, should_compile
from common.training import make_schedule


def preflight(
    config: RunConfig,
    shape: Any,
    train_NT: Tensor,
    *,
    first_target: int = 1,
    out: Path = Path(),
) -> list[str]:
    """Check the options against model and data, and say what the run will cost.

    Args:
        config: the options shared by all modalities.
        shape: the model on the meta device; it receives the run's LoRA layers, if any.
        train_NT: (N, T) training ids.
        first_target: the first position that training and validation predict.
        out: the output folder.

    Returns:
        Lines for the user: size, updates, memory, disk and, where it matters, the lowest possible
        loss.

    Raises:
        UserError: an option that does not fit the model, the data or the machine.
    """
    count, length = train_NT.shape
    schedule = make_schedule(config, count)
    device = pick_device(config.device)
    should_compile(config.train.compile, device, schedule.updates_left)
    check_compiler(config.train.optimizer, device)
    check_tracker(config.tracker)
    if not 1 <= config.measure.blocker_match < length:
        raise UserError(
            expected=f"measure.blocker_match from 1 to {length - 1}, below the sequences' length",
            got=f"{config.measure.blocker_match}",
            fix="change measure.blocker_match",
        )
    parameters = sum(p.numel() for p in shape.parameters())
    shape = prepare_tuning(
        shape,
        where=config.train.tune,
        lora_rank=config.train.lora_rank,
        freeze_embeddings=config.train.freeze_embeddings,
    )
    trained = sum(p.numel() for p in shape.parameters() if p.requires_grad)
    saved_in = dtype_to_save(config.train.save_dtype, shape.config.dtype)
    disk = disk_need(
        parameters=parameters,
        trained=trained,
        bytes_per_weight=saved_in.itemsize,
        keeps_checkpoints=config.train.keep_checkpoints,
        bytes_of_moments=BYTES_OF_MOMENTS[config.train.optimizer],
    )
    check_disk(disk, out)
    if config.train.checkpoint_activations:
        blocks_to_checkpoint(shape)
    memory = training_gib(
        shape,
        config.train.micro_batch_size or config.train.batch_size,
        length,
        batch=config.train.batch_size,
        sequences=count,
        compute=pick_compute(device, config.train.precision),
        checkpoint_activations=config.train.checkpoint_activations,
        bytes_of_moments=BYTES_OF_MOMENTS[config.train.optimizer],
    )
    lines = [
        f"{_millions(parameters)} parameters, {_millions(trained)} trained; at most "
        f"{schedule.updates_left:,} updates of {config.train.batch_size} sequences; about "
        f"{memory:.1f} GiB to train, on {device}; {disk}"
    ]
    lines += tuning_notices(shape, config.train.tune)
    floor, target = loss_floor(train_NT, first_target=first_target), config.schedule.target_loss
    if config.schedule.mode == "target" and target < floor:
        lines.append(
            f"note: no model can reach the target loss of {target:g} on these sequences: some "
            "have the same beginning, and no model can know which of them follows, which leaves "
            f"{floor:.4f} nats per token (about ln(N) / T for N sequences of T tokens with one "
            "beginning); use a higher schedule.target_loss, or fewer or longer sequences"
        )
    return lines


def loss_floor(ids_NT: Tensor, *, first_target: int = 1) -> float:
    """Lowest mean loss that any causal model can have on these sequences, nats per token.

    A model that knows the set by heart still has to guess where two sequences with the same
    beginning become different. Take n sequences that share all tokens before `first_target`, which
    are given and not predicted. If m of them are identical, the best model gives each of these the
    probability m / n, a loss of ln(n / m). By the chain rule this is the sum over its tokens. The
    sum over all n sequences is n ln n, less m ln m for every group of m identical ones.
    """
    _, same_beginning = torch.unique(ids_NT[:, :first_target], dim=0, return_counts=True)
    _, identical = torch.unique(ids_NT, dim=0, return_counts=True)
    nats = sum(n * math.log(n) for n in same_beginning.tolist()) - sum(
        m * math.log(m) for m in identical.tolist()
    )
    return nats / (ids_NT.shape[0] * (ids_NT.shape[1] - first_target))


def check_finite(model: nn.Module) -> None:
    """Refuse a broken checkpoint, whose losses would all be NaN.

    Raises:
        UserError: a weight is not finite; the message names its parameter.
    """
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UserError(
                expected="a model whose weights are finite numbers",
                got=f"NaN or infinity in {name}",
                fix="use an undamaged checkpoint",
            )


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1e5 else f"{count:,}"
