"""Pretraining of a small model: all that does not depend on the modality.

A domain prepares the sequences of ids, the shape of the model, and a function that saves it
(`Pretraining`). This file trains the model with the loop of hyperfitting, under linear warm-up and
linear decay. It writes `model/` (bf16 safetensors), `history.jsonl` (the loss curve) and
`pretrain.json` (held-out loss before and after, settings, versions). An interrupted run continues
bit-identically.

Shapes: N sequences, T tokens each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor
from transformers import PreTrainedModel

from common.errors import UserError
from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.linear_decay import LinearDecay
from common.hyperfit.loop import TrainingLoop
from common.hyperfit.memory import training_gib
from common.hyperfit.session import Session
from common.hyperfit.spacing import Cadence
from common.hyperfit.update import Batches, StepOptions
from common.hyperfit.validation import HeldOut
from common.measure.probe import probe_sequences
from common.model.head import attach_head
from common.preflight import check_finite
from common.pretrain_config import RESUME_MAY_DIFFER, PretrainOptions
from common.record.provenance import provenance
from common.record.run_folder import RunFolder
from common.tools.device import pick_compute, pick_device, should_compile
from common.tools.modules import disable_dropout
from common.tools.options import to_yaml
from common.tools.progress import Progress
from common.tools.quiet import quiet_transformers


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A pretraining whose data and options have been read and checked; no weights are loaded.

    Attributes:
        notes: lines that describe the data.
        shape: the model on the meta device.
        sequences: N, the number of training sequences.
        length: T, tokens of each.
        ids: returns the (N, T) training ids and the held-out ones; may take long.
        model: makes or loads the model to train.
        save: writes the trained model into a folder.
        record: further entries of `pretrain.json`.
    """

    notes: Sequence[str]
    shape: Any
    sequences: int
    length: int
    ids: Callable[[], tuple[Tensor, Tensor]]
    model: Callable[[], PreTrainedModel]
    save: Callable[[PreTrainedModel, Path], None]
    record: Mapping[str, Any] = field(default_factory=dict)


def run_pretraining(
    config: PretrainOptions, command: list[str], prepare: Callable[[], Pretraining]
) -> int:
    """Pretrain from the command line; returns the exit code.

    Args:
        config: options, their ranges checked.
        command: program and arguments, for the provenance.
        prepare: reads the data.

    Raises:
        UserError: an option is out of range, the data cannot be used, the disk is full, or the loss
            became NaN.
    """
    quiet_transformers()
    with Progress() as progress:
        task = prepare()
        for line in [*task.notes, cost(config, task)]:
            progress.note(line)
        if config.dry_run:
            return 0
        result = pretrain(config, task, progress, command)
    if config.json:
        print(json.dumps(result))
    return 0


def cost(config: PretrainOptions, task: Pretraining) -> str:
    """Size, steps and memory in one line.

    Raises:
        UserError: a batch larger than the training set, or a device that is not there.
    """
    if config.batch_size > task.sequences:
        raise UserError(
            expected=f"batch_size of at most the {task.sequences} training sequences",
            got=f"{config.batch_size}",
            fix="lower --batch_size",
        )
    device = pick_device(config.device)
    parameters = sum(p.numel() for p in task.shape.parameters())
    micro_batch = config.micro_batch_size or config.batch_size
    memory = training_gib(
        task.shape,
        micro_batch,
        task.length,
        batch=config.batch_size,
        compute=pick_compute(device, config.precision),
    )
    epochs = config.updates * config.batch_size / task.sequences
    return (
        f"{parameters / 1e6:.1f} M parameters; {config.updates:,} updates of {config.batch_size} x "
        f"{task.length} tokens = {epochs:.2f} epochs; about {memory:.1f} GiB to train, on {device}"
    )


def pretrain(
    config: PretrainOptions, task: Pretraining, progress: Progress, command: list[str]
) -> dict[str, object]:
    """Train, save and measure; returns what `pretrain.json` holds."""
    schedule = LinearDecay(
        learning_rate=config.learning_rate,
        updates=config.updates,
        warmup_updates=config.warmup_updates,
    )
    compute = pick_compute(pick_device(config.device), config.precision)
    compile_body = should_compile(config.compile, compute.device, config.updates)
    set_seed(config.seed)
    model: Any = task.model()
    check_finite(model)
    disable_dropout(model)
    model.to(compute.device)
    folder = RunFolder.create(
        Path(config.out),
        config_yaml=to_yaml(config),
        overwrite=config.overwrite,
        resume=config.resume,
        may_differ=RESUME_MAY_DIFFER,
        tell=progress.note,
    )
    train_NT, heldout_NT = task.ids()
    assert train_NT.shape == (task.sequences, task.length), train_NT.shape
    head = attach_head(model, heldout_NT[:2].long().to(compute.device))
    micro_batch = config.micro_batch_size or config.batch_size
    before = probe_sequences(head, heldout_NT.long(), batch_size=micro_batch)
    progress.note(f"held-out loss {before.loss_nats.mean:.3f} nats per token")
    bar = progress.task("pretraining", config.updates)

    def show(update: int) -> None:
        progress.update(bar, completed=update)

    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(0.9, config.adam_beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    cadence = Cadence(
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
    )
    checkpoints = Checkpoints(folder.checkpoints, folder.manifest.claim)
    loop = TrainingLoop(
        head=head,
        batches=Batches(
            sequences_NT=train_NT,
            seed=config.seed,
            batch_size=config.batch_size,
            micro_batch_size=micro_batch,
        ),
        schedule=schedule,
        optimizer=optimizer,
        compute=compute,
        session=Session(checkpoints, folder.journal, cadence, on_window=show),
        held_out=HeldOut(sequences_NT=heldout_NT),
        step=StepOptions(compile_body=compile_body),
    )
    trained = loop.run(resume=config.resume)
    if trained.outcome == "diverged":
        raise UserError(
            expected="a finite training loss", got=trained.message, fix="lower --learning_rate"
        )
    model.bfloat16()
    with folder.manifest.adding(folder.model.name) as added:
        task.save(model, added)
    # The held-out loss is that of the saved weights, which are rounded to bf16.
    after = probe_sequences(model.float(), heldout_NT.long(), batch_size=micro_batch)
    result: dict[str, object] = {
        "config": asdict(config),
        "updates": trained.updates,
        "tokens": trained.updates * config.batch_size * task.length,
        "seconds": round(trained.seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldout_before": before.to_json(),
        "heldout_after": after.to_json(),
        **task.record,
        "provenance": provenance(config.seed, command),
    }
    folder.write_text(folder.path / "pretrain.json", json.dumps(result, indent=1) + "\n")
    progress.note(f"held-out loss {after.loss_nats.mean:.3f}; model in {folder.model}")
    return result
