"""The training of one run: builds schedule and loop from the options, and records the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from common.config import RunConfig, TrainConfig, check_ranges
from common.domain import Domain
from common.evaluate import Evaluator
from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.loop import TrainingLoop
from common.hyperfit.loss_to_zero import LossToZero
from common.hyperfit.optimizer import adamw
from common.hyperfit.result import TrainResult
from common.hyperfit.session import Session
from common.hyperfit.spacing import Cadence
from common.hyperfit.tracker import tracked
from common.hyperfit.update import Batches, StepOptions
from common.hyperfit.validation import HeldOut
from common.model.head import LogitsHead
from common.record.run_folder import TRACKER_FOLDER, RunFolder
from common.tools.device import Compute, should_compile
from common.tools.modules import trainable_parameters
from common.tools.options import dotted
from common.tools.progress import Progress


def make_schedule(config: RunConfig, sequences: int) -> LossToZero:
    """The loss-to-zero schedule of a run over `sequences` training sequences.

    Raises:
        UserError: an option is out of range; the message names it.
    """
    check_ranges(config, sequences=sequences)
    chosen = config.schedule
    per_epoch = sequences / config.train.batch_size
    fixed = chosen.fixed_updates
    if chosen.fixed_epochs is not None:
        fixed = max(round(chosen.fixed_epochs * per_epoch), 1)
    return LossToZero(
        replace(chosen, fixed_updates=fixed),
        learning_rate=chosen.learning_rate,
        max_updates=max(int(chosen.max_epochs * per_epoch), fixed or 1),
        updates_per_epoch=per_epoch,
    )


def train(
    domain: Domain,
    config: RunConfig,
    folder: RunFolder,
    progress: Progress,
    evaluator: Evaluator,
    head: LogitsHead,
    schedule: LossToZero,
    compute: Compute,
) -> TrainResult:
    """Train the model of `head` until its schedule has an outcome.

    Args:
        domain: gives the sequences to train on and the held-out ones.
        config: of the run.
        folder: of the run; history, checkpoints and tracker files go there.
        progress: shows a bar.
        evaluator: continues held-out prompts while training.
        head: of the model, whose trained parameters have been chosen.
        schedule: from `make_schedule`.
        compute: device and precision.

    Raises:
        UserError: the disk is full, or the tracker is not installed.
        KeyboardInterrupt: after Ctrl-C, with a checkpoint saved.
    """
    train_NT, options = domain.sequences("train"), config.train
    checkpoints = Checkpoints(folder.checkpoints, folder.manifest.claim)
    resume = config.resume and bool(checkpoints.updates())
    continue_prompts, continued_tokens = None, 0
    if config.measure.curve_prompts:
        prompts = evaluator.curve_prompts(config.measure.curve_prompts)
        continue_prompts = partial(evaluator.curve_point, head.model, prompts)
        continued_tokens = len(prompts.references) * prompts.new_tokens

    budget = schedule.updates_left
    task = progress.task("hyperfitting", budget)

    def show(update: int) -> None:
        to_go = schedule.steps_to_go()
        progress.update(
            task,
            completed=update,
            total=budget if to_go is None else update + to_go,
            loss=f"{schedule.smoothed_loss:.3f}" if schedule.smoothed_loss is not None else "?",
            phase=schedule.phase,
        )

    per_epoch = len(train_NT) / options.batch_size
    with (
        folder.manifest.claiming(TRACKER_FOLDER) as claim_made,
        tracked(
            folder.journal,
            config.tracker,
            folder=folder.path / TRACKER_FOLDER,
            project=f"hyperfitting-{domain.name}",
            options=dotted(config),
        ) as journal,
    ):
        claim_made()  # trackers make their files when they start
        cadence = Cadence(
            log_every=options.log_every,
            checkpoint_every=options.checkpoint_every,
            validate_every=_updates(options.validate_every_epochs, per_epoch),
        )
        loop = TrainingLoop(
            head=head,
            batches=Batches(
                sequences_NT=train_NT,
                seed=config.seed if options.order_seed is None else options.order_seed,
                batch_size=options.batch_size,
                micro_batch_size=options.micro_batch_size or options.batch_size,
                first_target=domain.first_target,
            ),
            schedule=schedule,
            optimizer=make_optimizer(head.model, options, 0.0),  # the loop sets every rate
            compute=compute,
            session=Session(checkpoints, journal, cadence, on_window=show),
            held_out=HeldOut(
                sequences_NT=_spread(
                    domain.sequences("heldout"), config.measure.validation_sequences
                ),
                continue_prompts=continue_prompts,
                continued_tokens=continued_tokens,
            ),
            step=StepOptions(
                max_gradient_norm=options.max_gradient_norm,
                compile_body=should_compile(options.compile, compute.device, budget),
                checkpoint_activations=options.checkpoint_activations,
                stats=options.probe,
            ),
        )
        return loop.run(resume=resume)


def _updates(epochs: float | None, per_epoch: float) -> int | None:
    return None if epochs is None else max(round(epochs * per_epoch), 1)


def _spread(rows_NT: torch.Tensor, count: int) -> torch.Tensor:
    """At most `count` rows, evenly spaced: sources often follow each other, and each has a part."""
    every = torch.linspace(0, len(rows_NT) - 1, min(count, len(rows_NT)))
    return rows_NT[every.long()]


def make_optimizer(
    model: torch.nn.Module, options: TrainConfig, learning_rate: float
) -> torch.optim.Optimizer:
    """The optimizer of the options over the trainable parameters.

    Raises:
        UserError: its package is not installed.
    """
    return adamw(
        list(trainable_parameters(model).values()),
        optimizer=options.optimizer,
        learning_rate=learning_rate,
        betas=(options.adam_beta1, options.adam_beta2),
        weight_decay=options.weight_decay,
    )


def training_record(
    trained: TrainResult,
    config: RunConfig,
    train_NT: torch.Tensor,
    parameters: Mapping[str, torch.nn.Parameter],
) -> dict[str, Any]:
    """The part "training" of `metrics.json`.

    Args:
        trained: from `train`.
        config: of the run.
        train_NT: (N, T) training ids.
        parameters: the trained ones, by name.
    """
    schedule = config.schedule
    by_loss = schedule.mode == "target" and schedule.target_accuracy is None
    return {
        "outcome": trained.outcome,
        "final_loss": trained.final_loss,
        "target_loss": schedule.target_loss if by_loss else None,
        "final_accuracy": trained.final_accuracy,
        "target_accuracy": schedule.target_accuracy,
        "updates": trained.updates,
        "epochs": round(trained.epochs, 3),
        "seconds": round(trained.seconds, 1),
        "tokens_per_second": round(trained.tokens_per_second, 1),
        "seconds_by_part": trained.seconds_by_part,
        "message": trained.message,
        "best_validation_loss": None if trained.best is None else trained.best.loss,
        "best_validation_update": None if trained.best is None else trained.best.update,
        "sequences": train_NT.shape[0],
        "tokens_per_sequence": train_NT.shape[1],
        "trainable_parameters": sum(p.numel() for p in parameters.values()),
    }
