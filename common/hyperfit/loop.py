"""The one training loop: hyperfitting, and the pretraining of our own small models.

    update.py      an update, as one visible block
    session.py     the clock, checkpoints, Ctrl-C
    validation.py  held-out measurements while training
    loop.py        puts them together: it gives the losses to the schedule and does what that says

A checkpoint holds everything that the rest of the run depends on, and is saved only at a log line.
So a killed run continues bit-identically.

After a NaN or a lasting spike the schedule asks for the last good state, and the run returns to the
last checkpoint: weights, optimizer, best validation and history. The schedule keeps its memory of
the failure, and the event lines stay in the history.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from common.hyperfit import rate_test
from common.hyperfit.loss_to_zero import Action
from common.hyperfit.result import TrainResult
from common.hyperfit.schedule import Schedule
from common.hyperfit.session import Session
from common.hyperfit.spacing import Workload, update_share
from common.hyperfit.time_spent import TimeSpent
from common.hyperfit.update import Batches, StepOptions, Updated, Updates
from common.hyperfit.validation import Best, HeldOut, Validation
from common.model.head import LogitsHead
from common.tools.device import Compute, refuse_several_processes
from common.tools.modules import copy_weights, load_weights


@dataclass(kw_only=True)
class _Window:
    """The updates since the last log line, with their figures still on the device."""

    updates: list[Updated] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    first_seconds: float | None = 0.0  # of the first update of the process, which compiles


class TrainingLoop:
    """Trains until its schedule has an outcome.

    Args:
        head: of the model to train; only parameters that require gradients are trained and kept.
        batches: the training set and how it is divided into batches.
        schedule: decides the learning rate and when the run ends.
        optimizer: over the trainable parameters.
        compute: device and precision.
        session: checkpoints, history and their cadence. A checkpoint is saved before the first
            update, so there is always one to go back to.
        held_out: what is measured while training.
        step: how an update is made.

    Raises:
        UserError: a launcher started several processes.
    """

    def __init__(
        self,
        *,
        head: LogitsHead,
        batches: Batches,
        schedule: Schedule,
        optimizer: torch.optim.Optimizer,
        compute: Compute,
        session: Session,
        held_out: HeldOut | None = None,
        step: StepOptions | None = None,
    ) -> None:
        refuse_several_processes()
        self.model, self.schedule = head.model, schedule
        self.updates = Updates(
            head=head,
            batches=batches,
            optimizer=optimizer,
            compute=compute,
            options=step or StepOptions(),
        )
        self.session, self.held_out = session, held_out or HeldOut()
        self._budget = schedule.updates_left
        self._window = _Window()
        self.time = TimeSpent()

    @property
    def update(self) -> int:
        """Updates made so far; a return to a checkpoint sets it back."""
        return self.session.update

    # The run.

    def run(self, *, resume: bool = False) -> TrainResult:
        """Train to the schedule's outcome. The model holds the last good weights afterwards.

        Args:
            resume: continue from the newest whole checkpoint.

        Raises:
            UserError: nothing to resume, or the disk is full (earlier checkpoints stay).
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once a checkpoint is saved.
        """
        state = self.session.start(resume=resume)
        self.model.train()
        self._prepare()
        if state is not None:
            self._resume(state)
        else:
            if self.schedule.wants_rate:
                with self.time.on("rate_test"):
                    self._find_rate()
            self._validate(with_prompts=True)
            self._save()
        self._window = _Window(first_seconds=None)
        self.session.run(self.schedule, self._train_one_update, self._end_window)
        return self._result()

    def _prepare(self) -> None:
        """Compute and compile what the updates need, and decide when to measure and to save."""
        with self.time.on("preparation"):
            self.updates.prepare()
            self.validation = Validation(self.updates, self.held_out, self.time)
        batches, heldout_NT = self.updates.batches, self.held_out.sequences_NT
        self.points = Workload(
            update_tokens=batches.tokens,
            updates_per_epoch=1 / batches.order.epochs(1),
            budget=self._budget,
            update_share=update_share(self.model, kept=self.updates.prefix is not None),
            device=self.updates.compute.device.type,
        ).points(
            self.session.cadence,
            heldout_tokens=0 if heldout_NT is None else heldout_NT.numel(),
            continued_tokens=self.held_out.continued_tokens,
        )

    def _train_one_update(self) -> None:
        """The next update, at the schedule's rate."""
        updates, session, window = self.updates, self.session, self._window
        rate = self.schedule.rate_in(session.pending)
        probed = updates.options.stats and session.ends_window_next(self.schedule)
        rows_B = updates.batches.order.rows(session.update)
        window.updates.append(updates.make(rows_B, rate, probed=probed))
        if window.first_seconds is None:
            window.first_seconds = time.perf_counter() - window.started

    def _find_rate(self) -> None:
        """Make the range test, then put weights, optimizer and random numbers back.

        The test runs before the first checkpoint. A run that is killed during the test repeats it,
        and a later checkpoint holds the rate in the state of the schedule.
        """
        updates = self.updates
        batches = [updates.batches.order.rows(number) for number in range(rate_test.BATCHES)]
        with updates.undone():
            before = [updates.full_pass(rows_B)[0] for rows_B in batches]
            curve = rate_test.run_rate_test(
                lambda batch, rate: updates.make(batches[batch], rate).loss.item(), before
            )
        self._write({"kind": "rate_test", **asdict(curve)})
        self.schedule.start_at(*rate_test.choose_rate(curve))
        self._write_events()

    def _end_window(self, interrupted: bool) -> None:
        """Log, give the schedule the losses and do what it says."""
        action = self._answer(self.schedule.observe(*self._log()))
        with_prompts = self.session.due(self.points.curve)
        if action is Action.CONTINUE and (
            with_prompts or self.session.due(self.points.validations)
        ):
            diversity = self._validate(with_prompts=with_prompts)
            if diversity is not None:
                action = self._answer(self.schedule.diversity(diversity))
        elif action is Action.STOP and self.schedule.outcome != "diverged":
            self._validate(with_prompts=True)

        if action is Action.RESTORE or self.schedule.outcome == "diverged":
            self._restore()
            # Save again, so that a run resumed from here remembers the recovery.
            save = action is Action.RESTORE
        else:
            wanted = interrupted or self.session.due(self.points.checkpoints)
            save = action is Action.STOP or (wanted and self.schedule.healthy)
        self._write_events()
        if save:
            self._save()
        if self.schedule.outcome is not None and not interrupted:
            self._write({"kind": "time", **self.time.parts(self.session.seconds)})
        self._window = _Window()

    def _answer(self, action: Action) -> Action:
        """Make the full pass if the schedule asks for one; returns its next action."""
        if action is not Action.FULL_PASS:
            return action
        with self.time.on("full_passes"):
            loss, accuracy = self.updates.full_pass()
        self._write({"kind": "full_pass", "train_loss": loss, "train_accuracy": accuracy})
        return self.schedule.full_pass(loss, accuracy)

    # Records.

    def _write(self, record: dict[str, Any]) -> None:
        kind, rest = record["kind"], {k: v for k, v in record.items() if k != "kind"}
        self.session.journal.write({"kind": kind, "update": self.update, **rest})

    @property
    def _epoch(self) -> float:
        return round(self.updates.batches.order.epochs(self.update), 4)

    def _log(self) -> tuple[list[float], list[float]]:
        """Write the history line of the window; returns its losses and accuracies.

        Here the loop synchronises with the device, once per window. If the last gradient is not
        finite, its update has made the weights NaN, which only the next loss would show. Then the
        last loss is returned as NaN.
        """
        window = self._window
        made = window.updates
        each = torch.stack([*(u.loss for u in made), *(u.accuracy for u in made)]).tolist()
        losses, accuracies = each[: len(made)], each[len(made) :]
        norm, stats = made[-1].gradient_norm.item(), made[-1].stats
        seconds, first = time.perf_counter() - window.started, window.first_seconds or 0.0
        self.time.add("first_update", first)
        self.time.add("updates", seconds - first)
        self._write(
            {
                "kind": "update",
                "epoch": self._epoch,
                "train_loss": sum(losses) / len(losses),
                "train_accuracy": sum(accuracies) / len(accuracies),
                "learning_rate": self.updates.rate,
                "gradient_norm": norm,
                "tokens_per_second": round(len(made) * self.updates.batches.tokens / seconds, 1),
                "phase": self.schedule.phase,
                **({} if stats is None else stats.means()),
            }
        )
        return losses if math.isfinite(norm) else [*losses[:-1], math.nan], accuracies

    def _validate(self, *, with_prompts: bool) -> float | None:
        """Measure held-out data and write the figures; returns the diversity, if measured."""
        figures, diversity = self.validation.measure(self.update, with_prompts=with_prompts)
        self._write({"kind": "epoch", "epoch": self._epoch, **figures})
        return diversity

    def _write_events(self) -> None:
        """Write the schedule's events. After a return to a checkpoint, later ones are written at
        the update of that checkpoint, because a resumed run cuts all later lines from the history.
        """
        for event in self.schedule.drain_events():
            happened, message = event["update"], event["message"]
            if happened > self.update:
                message = f"at update {happened}, given up: {message}"
            at = min(happened, self.update)
            self.session.journal.write({"kind": "event", **event, "update": at, "message": message})

    # State.

    def _save(self) -> None:
        with self.time.on("checkpoints"):
            self.session.save(self._state())

    def _state(self) -> dict[str, Any]:
        """What decides the rest of the run."""
        best = self.validation.best
        if best is not None and best.update == self.update:
            weights = best.weights  # equal ones; the same tensors are saved only once
        else:
            weights = copy_weights(self.updates.parameters)
        return {
            "seconds_by_part": self.time.seconds,
            "weights": weights,
            "optimizer": self.updates.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": None if best is None else vars(best),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def _resume(self, state: dict[str, Any]) -> None:
        self._load(state)
        self.schedule.load_state_dict(state["schedule"])
        for part, seconds in state["seconds_by_part"].items():
            self.time.add(part, seconds)
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])

    def _restore(self) -> None:
        """Go back to the last checkpoint; the schedule keeps its memory of the failure."""
        self._load(self.session.go_back())
        if self.schedule.outcome is None:
            self.schedule.restored(self.update)

    def _load(self, state: dict[str, Any]) -> None:
        load_weights(self.model, state["weights"])
        self.updates.optimizer.load_state_dict(state["optimizer"])
        self.validation.best = None if state["best"] is None else Best(**state["best"])

    def _result(self) -> TrainResult:
        outcome, seconds = self.schedule.outcome, self.session.seconds
        assert outcome is not None
        return TrainResult(
            outcome=outcome,
            message=self.schedule.message,
            final_loss=self.schedule.final_loss,
            final_accuracy=self.schedule.final_accuracy,
            updates=self.update,
            epochs=self.updates.batches.order.epochs(self.update),
            seconds=seconds,
            tokens_per_second=self.update * self.updates.batches.tokens / seconds,
            seconds_by_part=self.time.parts(seconds),
            best=self.validation.best,
        )
