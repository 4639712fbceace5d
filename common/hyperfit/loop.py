"""The one training loop: hyperfitting, and the pretraining of our own small models.

One update is one visible block. The loop meets the device only where it logs, hands the losses to
the schedule and does what that says. Everything that decides the rest of a run is in the
checkpoint, and checkpoints lie on log lines, so a killed run continues bit-identically.

A state that the schedule gives up (NaN, a lasting spike) is gone altogether: weights, optimizer,
best validation and history go back to the checkpoint; only the schedule's memory of it and its
event lines stay.

Shapes: N sequences, T tokens each, B sequences per update, M per micro-batch, D hidden size.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from common.hyperfit import rate_test
from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.data_order import DataOrder, batched
from common.hyperfit.loss_to_zero import Action
from common.hyperfit.schedule import Schedule
from common.hyperfit.spacing import Regular, Spacing, Workload, due, update_share
from common.hyperfit.time_spent import TimeSpent
from common.measure.probe import probe_sequences
from common.model.frozen_prefix import FrozenPrefix, freeze_prefix
from common.model.head import LogitsHead, eval_mode
from common.model.token_stats import TokenSums
from common.tools.device import Compute, refuse_several_processes
from common.tools.interrupt import deferred_interrupt
from common.tools.modules import copy_weights, load_weights, trainable_parameters

History = Callable[[dict[str, Any]], None]


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
        best_validation_loss: lowest held-out loss, nats per token; None without held-out data.
        best_update: the update it was measured at.
        early_stopped: the trainable weights there, by name, on the CPU.
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
    best_validation_loss: float | None
    best_update: int | None
    early_stopped: dict[str, Tensor] | None


@dataclass(kw_only=True)
class _Window:
    """What has happened since the last log line, still on the device."""

    losses: list[Tensor] = field(default_factory=list)
    accuracies: list[Tensor] = field(default_factory=list)
    gradient_norm: Tensor | None = None
    stats: TokenSums | None = None
    started: float = field(default_factory=time.perf_counter)
    first_seconds: float | None = 0.0  # of the first update of the process, which compiles


class TrainingLoop:
    """Trains until its schedule has an outcome.

    Args:
        head: of the model to train; only parameters that require gradients are trained and kept.
        sequences_NT: (N, T) training ids, on the CPU, any integer type.
        heldout_NT: (N', T') ids for validation, or None.
        schedule: decides rates and the end.
        optimizer: over the trainable parameters.
        compute: device and precision.
        checkpoints: where to save; there is always one to go back to.
        history: takes one record per log line.
        forget_after: drops the history after an update that the run goes back to.
        seed: of the data order.
        batch_size: sequences per update.
        micro_batch_size: sequences per forward pass; sums, not means, are accumulated.
        max_gradient_norm: clipping; 0 is off.
        log_every: updates between two meetings with the device.
        checkpoint_every: updates between checkpoints, rounded up to a log line; None spaces them
            by what they cost, see `common.hyperfit.spacing`.
        validate_every: updates between validations, each with a point of the curve, rounded up to a
            log line; None spaces both by what they cost.
        compile_body: torch.compile the decoder for the updates (not for evaluation, whose other
            batch shapes would compile again).
        stats: whether the entropy probe runs along, on the batch of every log line.
        first_target: the first position that is predicted; what stands before it is given, as a
            prompt is, and carries no loss.
        curve: more held-out figures, from continued prompts; the one called `ttr_name`, where
            given, is the diversity that the schedule hears.
        curve_tokens: that are decoded for them, for their cost.
        ttr_name: see there.
        on_update: called after each log line with the update number (for progress bars).

    Raises:
        UserError: a launcher started several processes.
    """

    def __init__(
        self,
        *,
        head: LogitsHead,
        sequences_NT: Tensor,
        heldout_NT: Tensor | None,
        schedule: Schedule,
        optimizer: torch.optim.Optimizer,
        compute: Compute,
        checkpoints: Checkpoints,
        history: History,
        forget_after: Callable[[int], None],
        seed: int,
        batch_size: int,
        micro_batch_size: int,
        max_gradient_norm: float = 1.0,
        log_every: int = 8,
        checkpoint_every: int | None = 200,
        validate_every: int | None = 100,
        compile_body: bool = False,
        stats: bool = True,
        first_target: int = 1,
        curve: Callable[[], dict[str, float]] | None = None,
        curve_tokens: int = 0,
        ttr_name: str = "",
        on_update: Callable[[int], None] | None = None,
    ) -> None:
        refuse_several_processes()
        self.head, self.model = head, head.model
        self.compile_body = compile_body
        self.parameters = trainable_parameters(self.model)
        self.sequences_NT, self.heldout_NT = sequences_NT, heldout_NT
        self.order = DataOrder(len(sequences_NT), batch_size=batch_size, seed=seed)
        self.schedule, self.optimizer = schedule, optimizer
        self.compute, self.checkpoints = compute, checkpoints
        self.history, self.forget_after = history, forget_after
        self.micro_batch_size, self.max_gradient_norm = micro_batch_size, max_gradient_norm
        self.log_every, self.stats = log_every, stats
        self.checkpoint_every, self.validate_every = checkpoint_every, validate_every
        self.curve, self.curve_tokens, self.on_update = curve, curve_tokens, on_update
        self.budget = schedule.updates_left
        self.first_target, self.ttr_name = first_target, ttr_name

        self.prefix: FrozenPrefix | None = None
        self.heldout_prefix: FrozenPrefix | None = None
        self.update = 0
        self._best: dict[str, Any] | None = None  # loss, update and weights of the minimum
        self._window = _Window()
        self._seconds_before, self._started = 0.0, time.perf_counter()
        self.time = TimeSpent()

    # The run.

    def run(self, *, resume: bool = False) -> TrainResult:
        """Train to the schedule's outcome. The model holds the last good weights afterwards.

        Args:
            resume: go on from the newest whole checkpoint.

        Raises:
            UserError: nothing to resume, or the disk is full (earlier checkpoints stay).
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once a checkpoint is saved.
        """
        self._started = time.perf_counter()
        self.model.train()
        with self.time.on("preparation"):
            _assert_no_dropout(self.head, self.sequences_NT[:2].long().to(self.compute.device))
            self._prepare_bodies()
        self._space_points()
        if resume:
            self._resume()
        else:
            self.forget_after(-1)  # of a run that was killed before its first checkpoint
            if self.schedule.wants_rate:
                with self.time.on("rate_test"):
                    self._find_rate()
            self._validate()
            self._save()
        self._window = _Window(first_seconds=None)
        with deferred_interrupt() as interrupt:
            while self.schedule.outcome is None:
                self._train_one_update()
                if self._window.first_seconds is None:
                    self._window.first_seconds = time.perf_counter() - self._window.started
                # An interruption waits for the log line too, so that a resumed run decides at the
                # same updates.
                if self._ends_window(self.update):
                    stop = interrupt.requested
                    self._meet_schedule(save=stop)
                    if stop:
                        raise KeyboardInterrupt
                if self.schedule.outcome is not None:
                    parts = self.time.parts(self._seconds())
                    self.history({"kind": "time", "update": self.update, **parts})
        return self._result()

    def _ends_window(self, update: int) -> bool:
        """Whether a log line is due at `update`: the schedule takes no more losses than its budget
        has left."""
        pending = len(self._window.losses) + update - self.update
        return update % self.log_every == 0 or pending >= self.schedule.updates_left

    def _train_one_update(self) -> None:
        """The next update, at the schedule's rate."""
        rate = self.schedule.rate_in(len(self._window.losses))
        probed = self.stats and self._ends_window(self.update + 1)
        self._update_on(self.order.rows(self.update), rate, probed=probed)
        self.update += 1

    def _update_on(self, rows_B: list[int], rate: float, *, probed: bool) -> None:
        """One update: batch, forward, backward, clip, step. No device sync in here."""
        window = self._window
        for group in self.optimizer.param_groups:
            group["lr"] = rate

        first = self.first_target
        tokens = len(rows_B) * (self.sequences_NT.shape[1] - first)
        loss_sum, correct = torch.zeros(2, device=self.compute.device).unbind()
        for rows_M in batched(rows_B, self.micro_batch_size):
            ids_MT = self._to_device(self.sequences_NT[rows_M].long())
            with self.compute.autocast():
                if self.update_prefix is None:
                    hidden_MTD = self.update_head.hidden(ids_MT)
                else:
                    hidden_MTD = self.update_prefix.hidden(rows_M)
                part = self.update_head.train_loss(
                    hidden_MTD[:, first - 1 :], ids_MT[:, first - 1 :], stats=probed
                )
            (part.loss_sum / tokens).backward()
            loss_sum += part.loss_sum.detach()
            correct += part.correct
            if part.stats is not None:
                window.stats = part.stats if window.stats is None else window.stats + part.stats

        limit = self.max_gradient_norm or math.inf
        window.gradient_norm = nn.utils.clip_grad_norm_(self.parameters.values(), limit)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        window.losses.append(loss_sum / tokens)
        window.accuracies.append(correct / tokens)

    def _find_rate(self) -> None:
        """Make the range test; weights, optimizer and random numbers are as before it.

        It runs before the first checkpoint: a run that is killed in it begins it again, and a
        resumed one has the rate in its schedule.
        """
        weights, optimizer = (
            copy_weights(self.parameters),
            copy.deepcopy(self.optimizer.state_dict()),
        )
        batches = [self.order.rows(number) for number in range(rate_test.BATCHES)]
        device = self.compute.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            before = [
                loss_and_accuracy(
                    self.head,
                    self.sequences_NT,
                    self.micro_batch_size,
                    self.compute,
                    self.prefix,
                    first_target=self.first_target,
                    rows=rows_B,
                )[0]
                for rows_B in batches
            ]

            def update(batch: int, rate: float) -> float:
                self._update_on(batches[batch], rate, probed=False)
                return self._window.losses[-1].item()

            curve = rate_test.run_rate_test(update, before)
        load_weights(self.model, weights)
        self.optimizer.load_state_dict(optimizer)
        self._window = _Window()
        self.history({"kind": "rate_test", "update": 0, **asdict(curve)})
        self.schedule.start_at(*rate_test.choose_rate(curve))
        self._write_events()

    def _meet_schedule(self, *, save: bool) -> None:
        """Log, let the schedule hear the losses and do what it says."""
        action = self._answer(self.schedule.observe(*self._log()))
        with_curve = self._due(self.curve_spacing)
        if action is Action.CONTINUE and (with_curve or self._due(self.validation_spacing)):
            ttr = self._validate(with_curve=with_curve).get(self.ttr_name)
            if ttr is not None:
                action = self._answer(self.schedule.diversity(ttr))
        elif action is Action.STOP and self.schedule.outcome != "diverged":
            self._validate()

        if action is Action.RESTORE or self.schedule.outcome == "diverged":
            self._restore()
            # Saved anew, so that a run resumed from here knows of the recovery.
            save = action is Action.RESTORE
        else:
            save = save or action is Action.STOP or self._due(self.checkpoint_spacing)
            save = save and (action is Action.STOP or self.schedule.healthy)
        self._write_events()
        if save:
            self._save()
        if self.on_update is not None:
            self.on_update(self.update)
        self._window = _Window()

    def _answer(self, action: Action) -> Action:
        """Make the full pass where the schedule asks for one; returns what it says then."""
        if action is not Action.FULL_PASS:
            return action
        with self.time.on("full_passes"):
            loss, accuracy = loss_and_accuracy(
                self.head,
                self.sequences_NT,
                self.micro_batch_size,
                self.compute,
                self.prefix,
                first_target=self.first_target,
            )
        measured = {"train_loss": loss, "train_accuracy": accuracy}
        self.history({"kind": "full_pass", "update": self.update, **measured})
        return self.schedule.full_pass(loss, accuracy)

    def _prepare_bodies(self) -> None:
        """What an update runs: the whole decoder, or the part above a frozen prefix; compiled or
        not. Evaluation keeps the eager one, whose other modes and shapes would compile again."""
        self.prefix = self._freeze_prefix(self.sequences_NT)
        if self.prefix is not None and self.heldout_NT is not None:
            self.heldout_prefix = self._freeze_prefix(self.heldout_NT)
        self.update_head, self.update_prefix = copy.copy(self.head), copy.copy(self.prefix)
        if self.compile_body:
            updated = self.update_prefix or self.update_head
            updated.body = torch.compile(updated.body, dynamic=False)

    def _freeze_prefix(self, sequences_NT: Tensor) -> FrozenPrefix | None:
        return freeze_prefix(
            self.head,
            sequences_NT,
            batch_size=self.micro_batch_size,
            device=self.compute.device,
            autocast=self.compute.autocast,
        )

    def _space_points(self) -> None:
        """Settle at which updates to validate and to save, before the first of them."""
        work = Workload(
            update_tokens=self.order.batch_size * self.sequences_NT.shape[1],
            updates_per_epoch=1 / self.order.epochs(1),
            budget=self.budget,
            update_share=update_share(self.model, kept=self.prefix is not None),
            device=self.compute.device.type,
        )
        self.validation_spacing: Spacing
        self.curve_spacing: Spacing
        self.checkpoint_spacing: Spacing
        if self.validate_every is not None:
            self.validation_spacing = self.curve_spacing = Regular(every=self.validate_every)
        else:
            heldout = 0 if self.heldout_NT is None else self.heldout_NT.numel()
            self.validation_spacing = work.validations(heldout)
            self.curve_spacing = work.curve_points(self.curve_tokens)
        if self.checkpoint_every is not None:
            self.checkpoint_spacing = Regular(every=self.checkpoint_every)
        else:
            self.checkpoint_spacing = work.checkpoints()

    def _due(self, spacing: Spacing) -> bool:
        """Whether a point lies within the updates of this window."""
        return due(spacing, self.update - len(self._window.losses), self.update)

    def _to_device(self, ids_BT: Tensor) -> Tensor:
        device = self.compute.device
        if device.type == "cuda":
            ids_BT = ids_BT.pin_memory()  # or the copy would wait for the device
        return ids_BT.to(device, non_blocking=True)

    # Records.

    def _log(self) -> tuple[list[float], list[float]]:
        """Write the history line of the window, the one meeting with the device; gives its losses
        and accuracies.

        A gradient that is not finite has ruined the weights by now, which the losses would show
        one update later: the last one is given as NaN then.
        """
        window = self._window
        assert window.gradient_norm is not None
        each = torch.stack([*window.losses, *window.accuracies]).tolist()
        losses, accuracies = each[: len(window.losses)], each[len(window.losses) :]
        norm = window.gradient_norm.item()
        seconds, first = time.perf_counter() - window.started, window.first_seconds or 0.0
        self.time.add("first_update", first)
        self.time.add("updates", seconds - first)
        tokens = len(losses) * self.order.batch_size * self.sequences_NT.shape[1]
        self.history(
            {
                "kind": "update",
                "update": self.update,
                "epoch": round(self.order.epochs(self.update), 4),
                "train_loss": sum(losses) / len(losses),
                "train_accuracy": sum(accuracies) / len(accuracies),
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "gradient_norm": norm,
                "tokens_per_second": round(tokens / seconds, 1),
                "phase": self.schedule.phase,
                **({} if window.stats is None else window.stats.means()),
            }
        )
        return losses if math.isfinite(norm) else [*losses[:-1], math.nan], accuracies

    def _validate(self, *, with_curve: bool = True) -> dict[str, Any]:
        """Held-out loss and entropy, and what continued prompts add; keeps the best state."""
        epoch = round(self.order.epochs(self.update), 4)
        record: dict[str, Any] = {"kind": "epoch", "update": self.update, "epoch": epoch}
        if self.heldout_NT is not None:
            with self.time.on("validation"), self.compute.autocast():
                probe = probe_sequences(
                    self.head,
                    self.heldout_NT.long(),
                    batch_size=self.micro_batch_size,
                    start=self.first_target,
                    prefix=self.heldout_prefix,
                )
            loss = probe.loss_nats.mean
            record |= {
                "validation_loss": loss,
                "validation_accuracy": probe.gold_rank_zero_share.mean,
                "validation_entropy_nats": probe.entropy_nats.mean,
                "validation_top1_mass": probe.top1_mass.mean,
            }
            if self._best is None or loss < self._best["loss"]:
                weights = copy_weights(self.parameters)
                self._best = {"loss": loss, "update": self.update, "weights": weights}
        if self.curve is not None and with_curve:
            with self.time.on("curve"):
                record |= self.curve()
        self.history(record)
        return record

    def _write_events(self) -> None:
        """Events of a trajectory that was given up stand at the update the run went back to: the
        history is cut by update number when a run goes back or is resumed."""
        for event in self.schedule.drain_events():
            happened, message = event["update"], event["message"]
            if happened > self.update:
                message = f"at update {happened}, given up: {message}"
            at = min(happened, self.update)
            self.history({"kind": "event", **event, "update": at, "message": message})

    # State.

    def _save(self) -> None:
        with self.time.on("checkpoints"):
            self.checkpoints.save(self.update, self._state())

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        best = self._best
        # Of the initial state and of every new minimum the weights are in the file once.
        at_best = best is not None and best["update"] == self.update
        return {
            "update": self.update,
            "seconds": self._seconds(),
            "seconds_by_part": self.time.seconds,
            "weights": best["weights"]
            if best is not None and at_best
            else copy_weights(self.parameters),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": best,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def _resume(self) -> None:
        state, notices = self.checkpoints.load_newest()
        self._load(state)
        self.schedule.load_state_dict(state["schedule"])
        self._seconds_before = state["seconds"]
        for part, seconds in state["seconds_by_part"].items():
            self.time.add(part, seconds)
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        for notice in [*notices, f"resumed after update {self.update}"]:
            self.history(
                {"kind": "event", "update": self.update, "event": "resume", "message": notice}
            )

    def _restore(self) -> None:
        """Back to the last good state; the schedule keeps its memory of what went wrong."""
        state, _ = self.checkpoints.load_newest()
        self._load(state)
        if self.schedule.outcome is None:
            self.schedule.restored(self.update)

    def _load(self, state: dict[str, Any]) -> None:
        load_weights(self.model, state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.update, self._best = state["update"], state["best"]
        self.forget_after(self.update)
        self.checkpoints.drop_after(self.update)

    def _result(self) -> TrainResult:
        outcome, best, seconds = self.schedule.outcome, self._best, self._seconds()
        assert outcome is not None
        tokens = self.update * self.order.batch_size * self.sequences_NT.shape[1]
        return TrainResult(
            outcome=outcome,
            message=self.schedule.message,
            final_loss=self.schedule.final_loss,
            final_accuracy=self.schedule.final_accuracy,
            updates=self.update,
            epochs=self.order.epochs(self.update),
            seconds=seconds,
            tokens_per_second=tokens / seconds,
            seconds_by_part=self.time.parts(seconds),
            best_validation_loss=None if best is None else best["loss"],
            best_update=None if best is None else best["update"],
            early_stopped=None if best is None else best["weights"],
        )

    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started


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
    """Mean loss over all tokens from `first_target` on, in eval mode, nats per token, and the share
    of them that are the model's first choice: the numbers a run is judged by.

    Args:
        rows: of the sequences that count; None are all.
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
    nats, correct = torch.stack(sums).cpu().double().sum(dim=0).tolist()
    tokens = len(rows) * (sequences_NT.shape[1] - first_target)
    return nats / tokens, correct / tokens


@torch.no_grad()
def _assert_no_dropout(head: LogitsHead, ids_BT: Tensor) -> None:
    """Zero loss is out of reach with dropout; the domain turns it off when it loads the model.

    Asked of the model itself, since rates sit in modules, in attributes of attention blocks and in
    configurations: without dropout two passes in training mode are equal.
    """
    assert head.model.training
    first_BTD, second_BTD = (head.hidden(ids_BT) for _ in range(2))
    assert torch.equal(first_BTD, second_BTD), "dropout is on: two training-mode passes differ"
