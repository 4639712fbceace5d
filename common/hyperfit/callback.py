"""Loss-to-zero for a Hugging Face `Trainer` or TRL `SFTTrainer`, in one line:

    Trainer(..., callbacks=[LossToZeroCallback(target_loss=0.05)])

What the callback does, and why:

* Loss. A callback receives training losses only as `logs["loss"]`, the mean over the updates since
  the last log. This is the loss that was back-propagated: it includes gradient accumulation,
  overrides of `compute_loss` and all processes, none of which a forward hook would see. So the
  callback requests a log every `observe_every` updates.
* NaN. The Trainer's `logging_nan_inf_filter` replaces a NaN in that mean by an average. Without the
  filter the sum stays NaN for ever, because the Trainer resets it by subtracting it from itself. So
  the filter stays on, and the callback looks for parameters that are not finite instead.
* Gradient accumulation. Some models accept `num_items_in_batch` and ignore it (ImageGPT). They
  report, and learn from, their loss times `gradient_accumulation_steps`. Use 1 with these models,
  or full passes come too late.
* Learning rate. It is set right before each optimizer step, from `args.learning_rate` and whatever
  `lr_scheduler_type` is; parameter groups keep their ratios. `state.log_history` shows the rate
  used. There is no range test: it would have to make updates before training, and a callback cannot
  make the Trainer's own, with its loss (TRL has others), accumulation and scaling.
  `common.hyperfit.rate_test` works with any function that makes an update.
* Full pass. It runs over the training data in order, in eval mode, with the Trainer's collate
  function. Batches are weighted by the number of labels that count. The order and the random
  numbers of training stay untouched. A pass also measures the accuracy; with `target_accuracy` the
  logged loss decides when a pass is due.
* Restore. Parameters and optimizer state come from a copy in CPU memory, which is taken while the
  loss shows no spike.

The run ends at the target or at the Trainer's `max_steps`; `callback.scheduler.outcome` and
`.message` say which. A checkpoint holds the state of the schedule, and `resume_from_checkpoint`
continues from it. The callback works on one device and with data parallelism. It refuses sharded
training (FSDP, DeepSpeed).
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_callback import (
    ExportableState,
    TrainerControl,
    TrainerState,
)
from transformers.training_args import TrainingArguments

from common.errors import UserError
from common.hyperfit.loader_pass import loss_and_accuracy, of_first_process
from common.hyperfit.loss_to_zero import Action, LossToZero
from common.hyperfit.options import ScheduleOptions
from common.hyperfit.trainer_checks import refuse_unreachable
from common.tools.modules import (
    active_dropout,
    copy_weights,
    disable_dropout,
    load_weights,
    trainable_parameters,
)

logger = logging.getLogger(__name__)


class LossToZeroCallback(TrainerCallback, ExportableState):
    """Drives a `Trainer` to a target training loss and stops it there.

    Args:
        disable_dropout: set all dropout to 0. With False the callback refuses active dropout,
            because a model with dropout cannot reach zero loss.
        observe_every: updates between two observations of the loss; each adds an entry to the logs.
            An observation is one mean, so a spike must last for `spike_updates` observations.
        snapshot_every: fewest updates between two copies of the state for recoveries.
        **options: those of `common.hyperfit.options.ScheduleOptions` (`target_loss`, `hold`, ...),
            with the defaults of `python -m text.run`. Rate and budget are the Trainer's.

    Raises:
        UserError: an option is out of range, or, at the start of training, the Trainer is set up
            in a way that cannot reach zero loss or cannot be restored.
    """

    def __init__(
        self,
        *,
        disable_dropout: bool = True,
        observe_every: int = 5,
        snapshot_every: int = 50,
        **options: Any,
    ) -> None:
        for name, value in {
            "observe_every": observe_every,
            "snapshot_every": snapshot_every,
        }.items():
            if value < 1:
                raise UserError(
                    expected=f"{name} to be at least 1", got=repr(value), fix=f"change {name}"
                )
        for name in ("learning_rate", "max_updates"):
            if name in options:
                raise UserError(
                    expected="options that the Trainer does not have itself",
                    got=name,
                    fix="set learning_rate and max_steps in TrainingArguments",
                )
        self.options = ScheduleOptions(**options)
        self.disable_dropout = disable_dropout
        self.observe_every, self.snapshot_every = observe_every, snapshot_every
        self.saved: dict[str, Any] | None = None
        # The Trainer's rate and step limit are not known yet. This checks the options now.
        self.scheduler = LossToZero(
            self.options,
            learning_rate=1.0,
            max_updates=self.options.fixed_updates or 1,
            updates_per_epoch=1,
        )
        self._observed_step = 0
        self._rate_used = 0.0
        self._good: dict[str, Any] = {}

    def state(self) -> dict[str, Any]:
        """What a Trainer checkpoint keeps of this callback."""
        arguments = {
            **asdict(self.options),
            "disable_dropout": self.disable_dropout,
            "observe_every": self.observe_every,
            "snapshot_every": self.snapshot_every,
        }
        return {"args": arguments, "attributes": {"saved": self.scheduler.state_dict()}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        dataloader = kwargs["train_dataloader"]
        refuse_unreachable(args, kwargs["model"], dataloader)
        if EarlyStoppingCallback.__name__ in (state.stateful_callbacks or {}):
            logger.warning(
                "EarlyStoppingCallback ends the run by a validation measure, which gets worse "
                "while a model hyperfits: leave it out"
            )
        self._silence_dropout(kwargs["model"])
        if not args.logging_nan_inf_filter:
            args.logging_nan_inf_filter = True
            logger.warning("logging_nan_inf_filter set to True: a recovery needs it")
        self.scheduler = LossToZero(
            self.options,
            learning_rate=args.learning_rate,
            max_updates=state.max_steps,
            updates_per_epoch=len(dataloader) / args.gradient_accumulation_steps,
        )
        if state.global_step > 0:
            # The Trainer itself restores callbacks only where
            # `restore_callback_states_from_checkpoint` is set, and then it makes a new object.
            stored = state.stateful_callbacks or {}
            assert isinstance(stored, dict)
            if self.saved is None and type(self).__name__ in stored:
                self.saved = stored[type(self).__name__]["attributes"]["saved"]
            if self.saved is None:
                raise UserError(
                    expected="a checkpoint written with this callback",
                    got=f"a checkpoint of step {state.global_step} without its state",
                    fix="start a new run, or resume without the callback",
                )
            self.scheduler.load_state_dict(self.saved)
        self.saved = None
        self._observed_step = state.global_step
        self._keep(kwargs["model"], kwargs["optimizer"])

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._rate_used = self.scheduler.rate_in(state.global_step - self._observed_step)
        for group in kwargs["optimizer"].param_groups:
            ratio = group.get("initial_lr", args.learning_rate) / args.learning_rate
            group["lr"] = self._rate_used * ratio

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A checkpoint does not hold losses that have not been logged yet, so log before each one.
        pending = state.global_step - self._observed_step
        due = min(self.observe_every, self.scheduler.updates_left)
        if pending >= due or control.should_save or control.should_training_stop:
            control.should_log = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if control.should_save:
            control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        pending = state.global_step - self._observed_step
        if logs is None or "loss" not in logs or pending == 0 or self.scheduler.outcome:
            return
        logs["learning_rate"] = state.log_history[-1]["learning_rate"] = self._rate_used
        self._observed_step = state.global_step
        parameters = list(trainable_parameters(kwargs["model"]).values())
        loss = float(logs["loss"]) if _all_finite(parameters) else math.nan
        self._act(self.scheduler.observe_mean(loss, updates=pending), args, kwargs)
        if self.scheduler.outcome is not None:
            control.should_training_stop = True
            control.should_save = control.should_save or args.save_strategy != "no"
        elif (
            self.scheduler.healthy
            and self.scheduler.update - self._good["update"] >= self.snapshot_every
        ):
            self._keep(kwargs["model"], kwargs["optimizer"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        while self.scheduler.outcome is None:  # the Trainer, or another callback, ended the run
            self._act(self.scheduler.out_of_updates(), args, kwargs)
        level = logging.INFO if self.scheduler.outcome == "reached" else logging.WARNING
        logger.log(level, self.scheduler.message)
        self._good = {}

    def _act(self, action: Action, args: TrainingArguments, kwargs: dict[str, Any]) -> None:
        model = kwargs["model"]
        if action is Action.FULL_PASS:
            measured = loss_and_accuracy(
                model,
                kwargs["train_dataloader"],
                batch_size=args.per_device_eval_batch_size,
                device=args.device,
            )
            action = self.scheduler.full_pass(*of_first_process(measured))
        if action is Action.RESTORE or self.scheduler.outcome == "diverged":
            load_weights(model, self._good["parameters"])
            # `load_state_dict` keeps tensors that already fit, and the optimizer writes in place.
            kwargs["optimizer"].load_state_dict(copy.deepcopy(self._good["optimizer"]))
        if action is Action.RESTORE:
            self.scheduler.restored(self._good["update"])
        for event in self.scheduler.drain_events():
            logger.info("update %(update)d, %(event)s: %(message)s", event)

    def _keep(self, model: nn.Module, optimizer: Any) -> None:
        self._good = {
            "update": self.scheduler.update,
            "parameters": copy_weights(trainable_parameters(model)),
            "optimizer": _on_cpu(optimizer.state_dict()),
        }

    def _silence_dropout(self, model: nn.Module) -> None:
        active = active_dropout(model)
        if not active:
            return
        names = ", ".join(sorted({f"{type(owner).__name__}.{name}" for owner, name in active}))
        if not self.disable_dropout:
            raise UserError(
                expected="a model without dropout, which makes zero loss impossible",
                got=f"active dropout in {names}",
                fix="pass disable_dropout=True or set it to 0 in the model's config",
            )
        disable_dropout(model)
        logger.warning("dropout set to 0 in %s", names)


def _all_finite(tensors: list[nn.Parameter]) -> bool:
    """Whether all values are finite; synchronises with the device once, for all tensors."""
    return bool(torch.stack([tensor.detach().isfinite().all() for tensor in tensors]).all())


def _on_cpu(value: Any) -> Any:
    """A copy in CPU memory of nested dicts and lists of tensors."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(item) for item in value)
    return value
