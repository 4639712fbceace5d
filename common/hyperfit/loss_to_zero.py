"""Loss-to-zero: the schedule that drives a run to a target training loss and ends it there.

The literature has no stopping rule for hyperfitting. P1 (Carlsson et al., ICLR 2025, arXiv
2412.04318, section 3) trains 20 epochs at a constant rate. P2 (Li et al., ICML 2026, arXiv
2605.22579) says that such a rule is missing. Near zero, the loss at a constant rate oscillates
around a floor that depends on the rate. There a smoothed minibatch loss says little about the loss
of the weights that would be saved. So a run has three phases:

* *descend*: the rate is constant, as in P1, until the smoothed loss falls below a knee;
* *settle*: the rate falls with the smoothed loss, down to a lower bound, and never rises;
* *done*: `hold` full passes in a row, over the training set in eval mode, were at the target. The
  target is a loss, or the share of tokens that are the model's first choice (`goal.py`).

After a NaN or a lasting spike the schedule asks for the last good state and halves the rate. When
the descent stalls, it raises the rate once. If the loss then still does not fall, the rate itself
keeps it from falling, and the run settles at lower rates.

`mode="fixed"` is P1's protocol: a constant rate, exactly `fixed_updates` updates, one full pass.
Its outcome is "reached" only if that pass is at the target, else "budget_exhausted". A NaN or a
spike is answered there too. A recovery changes the rate; with `max_recoveries=0` the run stops
instead.

This file is long because its rules are read together: the answer to a loss depends on the answers
before. Three parts are in files of their own: `rate_policy.py`, `loss_curve.py`, `goal.py`.

No torch in here: losses go in, decisions come out. With any optimizer:

    schedule = LossToZero(learning_rate=1e-3, max_updates=5000, updates_per_epoch=64)
    good = save()
    while schedule.outcome is None:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate
        action = schedule.observe([update()])   # one optimizer update, returns its training loss
        if action is Action.FULL_PASS:
            action = schedule.full_pass(mean_loss_of_the_training_set())  # and its accuracy
        if action is Action.RESTORE:
            schedule.restored(load(good))       # load returns the update the state was saved at
        elif schedule.healthy:
            good = save()
    print(schedule.outcome, schedule.message)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from common.errors import UserError
from common.hyperfit.goal import Goal
from common.hyperfit.loss_curve import LossCurve
from common.hyperfit.options import Auto, ScheduleOptions, check_budget
from common.hyperfit.rate_policy import RatePolicy, RateState

DEFAULTS = ScheduleOptions()


class Action(StrEnum):
    """What the loop does next."""

    CONTINUE = "continue"
    FULL_PASS = "full_pass"
    """Measure the whole training set in eval mode, then call `full_pass(loss, accuracy)`."""
    RESTORE = "restore"
    """Load the last good state, then call `restored(update)`; the rate has been halved."""
    STOP = "stop"


@dataclass(kw_only=True)
class _Progress:
    """The state of the schedule: plain JSON values, so that a checkpoint can hold it."""

    update: int = 0
    expects: str = "observe"
    outcome: str | None = None
    message: str = ""
    closing: str | None = None  # the outcome to end with unless the last full pass is at the target
    found_rate: float | None = None
    """The rate that the range test found, where the learning rate is "auto"."""
    curve: LossCurve = field(default_factory=LossCurve)
    wrong: LossCurve = field(default_factory=LossCurve)
    """Share of wrong tokens; only where the target is an accuracy."""
    spiking: int = 0
    recoveries: int = 0
    held: int = 0
    last_pass: int | None = None
    final_loss: float | None = None
    final_accuracy: float | None = None
    best_diversity: float | None = None
    diversity_waits: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)


class LossToZero:
    """Learning rate and stopping rule of one run. Losses in nats per token.

    Args:
        options: when the rate falls and when the run ends.
        learning_rate: rate of the descent. With "auto", `start_at` must be called with a rate
            before the first update.
        max_updates: budget in optimizer updates, in either mode.
        updates_per_epoch: updates in one pass over the training set. A full pass costs about a
            third of these, so there are at most two per epoch unless `pass_every` is set.

    Raises:
        UserError: an option is out of range, or calls come in an impossible order.
    """

    def __init__(
        self,
        options: ScheduleOptions = DEFAULTS,
        *,
        learning_rate: float | Auto,
        max_updates: int,
        updates_per_epoch: float,
    ) -> None:
        options.check()
        check_budget(options, learning_rate=learning_rate, max_updates=max_updates)
        self.options, self._given_rate = options, learning_rate
        self._budget = max_updates if options.fixed_updates is None else options.fixed_updates
        self._hold = options.hold if options.mode == "target" else 1
        self._pass_every = options.pass_every or max(round(updates_per_epoch / 2), 1)
        self._goal = Goal(options)
        self._policy = RatePolicy(options)
        self._progress = _Progress()

    # What the loop reads.

    @property
    def learning_rate(self) -> float:
        """Rate of the descent, given or found by a range test."""
        if not isinstance(self._given_rate, str):
            return self._given_rate
        assert self._progress.found_rate is not None, "start_at comes first"
        return self._progress.found_rate

    @property
    def wants_rate(self) -> bool:
        """Whether `start_at` has to be called before the first update."""
        return self._given_rate == "auto" and self._progress.found_rate is None

    @property
    def rate(self) -> float:
        """Learning rate of the next update."""
        return self.rate_in(0)

    def rate_in(self, pending: int) -> float:
        """Learning rate of the update after `pending` ones that have not been observed yet.

        It differs from `rate` only during warm-up. All other changes follow an observation.
        """
        return self.learning_rate * self._policy.factor(self._progress.update + pending)

    @property
    def phase(self) -> str:
        """ "descend", "settle" or "done"."""
        return "done" if self._progress.outcome else self._policy.state.phase

    @property
    def outcome(self) -> str | None:
        """None, then "reached", "budget_exhausted", "diverged" or "diversity_stopped"."""
        return self._progress.outcome

    @property
    def message(self) -> str:
        """One sentence on how the run ended; empty while it runs."""
        return self._progress.message

    @property
    def update(self) -> int:
        """Updates made so far; a restore sets it back to those of the restored state."""
        return self._progress.update

    @property
    def updates_left(self) -> int:
        """Updates the budget still allows: `observe` takes no more losses than this."""
        return self._budget - self._progress.update

    @property
    def smoothed_loss(self) -> float | None:
        """Moving average of the minibatch losses; None before the first."""
        return self._progress.curve.smoothed

    @property
    def final_loss(self) -> float | None:
        """Loss of the latest full pass; None before the first, and after a return to an earlier
        state."""
        return self._progress.final_loss

    @property
    def final_accuracy(self) -> float | None:
        """Accuracy of the latest full pass, if the loop gave one; None where `final_loss` is."""
        return self._progress.final_accuracy

    @property
    def held(self) -> int:
        """Full passes in a row at the target."""
        return self._progress.held

    @property
    def recoveries(self) -> int:
        """Restores asked for so far."""
        return self._progress.recoveries

    @property
    def healthy(self) -> bool:
        """Whether the present state may be saved as the last good state: the last loss was no
        spike, and no answer to an action is missing."""
        return self._progress.expects == "observe" and self._progress.spiking == 0

    def drain_events(self) -> list[dict[str, Any]]:
        """Events since the last call: `{"update", "event", "message"}`. The event is rate_test,
        nan, spike, stall, settle, restore or done."""
        events, self._progress.events = self._progress.events, []
        return events

    # What the loop reports.

    def start_at(self, learning_rate: float, why: str) -> None:
        """Take the rate that a range test has found, and a sentence that gives the reason."""
        assert self.wants_rate, learning_rate
        self._progress.found_rate = learning_rate
        self._event("rate_test", why)

    def observe(self, losses: Sequence[float], accuracies: Sequence[float] | None = None) -> Action:
        """Take the mean training losses of the updates since the last call, in order.

        Args:
            losses: one per update.
            accuracies: of the same batches, each the share of tokens that are the model's first
                choice. With a target accuracy they decide when a full pass is due; without them the
                losses do.
        """
        self._expect_losses(len(losses))
        each = [None] * len(losses) if accuracies is None else accuracies
        for loss, accuracy in zip(losses, each, strict=True):
            if action := self._take(loss, accuracy, updates=1):
                return action
        return self._decide()

    def observe_mean(self, loss: float, *, updates: int) -> Action:
        """Take one mean loss over the `updates` since the last call, where no single losses are
        known.

        It counts as at most one spike, however many updates it covers, since a single outlier can
        raise the mean.
        """
        self._expect_losses(updates)
        return self._take(loss, None, updates=updates) or self._decide()

    def _expect_losses(self, count: int) -> None:
        self._expect("observe")
        if not 0 < count <= self.updates_left:
            raise UserError(
                expected=f"between 1 and {self.updates_left} losses (what the budget leaves)",
                got=f"{count}",
                fix="observe after at most `updates_left` updates",
            )

    def _take(self, loss: float, accuracy: float | None, *, updates: int) -> Action | None:
        """Add the mean loss of `updates` updates; returns the answer to a divergence, else None."""
        progress = self._progress
        first, last = progress.update, progress.update + updates
        progress.update = last
        if not math.isfinite(loss):
            return self._recover("nan", f"the training loss became {loss}")
        if self._spikes(loss):
            return self._recover(
                "spike",
                f"the training loss rose to {loss:.4g} from a smoothed "
                f"{progress.curve.reference:.4g}",
            )
        level = min(loss, self._spike_threshold())  # limits the effect of a single outlier
        curves = [(progress.curve, level)]
        if self._goal.by_accuracy:
            curves.append((progress.wrong, self._goal.level(level, accuracy)))
        for update in range(first, last):
            for curve, value in curves:
                curve.add(
                    value,
                    update=update + 1,
                    elapsed=math.sqrt(self._policy.factor(update)),
                    span=self.options.smoothing_updates,
                )
        return None

    def _decide(self) -> Action:
        if self.options.mode == "target":
            assert self.smoothed_loss is not None
            followed = self._policy.follow(self.smoothed_loss, self.update, self.learning_rate)
            for event, message in followed:
                self._event(event, message)
        if self.updates_left == 0:
            return self._close("budget_exhausted")
        return self._ask_for_pass() if self._pass_is_due() else Action.CONTINUE

    def full_pass(self, loss: float, accuracy: float | None = None) -> Action:
        """Take the token-weighted means of a full eval-mode pass over the training set.

        Args:
            loss: nats per token.
            accuracy: share of tokens that are the model's first choice; needed for a target
                accuracy.

        Raises:
            UserError: the accuracy is needed and missing.
        """
        self._expect("full_pass")
        if self._goal.by_accuracy and accuracy is None:
            raise UserError(
                expected="the accuracy of a full pass, for schedule.target_accuracy",
                got="its loss alone",
                fix="call full_pass(loss, accuracy)",
            )
        progress = self._progress
        progress.expects = "observe"
        if not math.isfinite(loss):
            progress.closing = None
            return self._recover("nan", f"the loss of a full pass was {loss}")
        progress.final_loss, progress.final_accuracy = loss, accuracy
        progress.last_pass = progress.update
        progress.held = progress.held + 1 if self._goal.reached(loss, accuracy) else 0
        return self._conclude()

    def _conclude(self) -> Action:
        """The answer to the last full pass: the run ends or continues."""
        progress = self._progress
        assert progress.final_loss is not None
        measured = self._goal.told(progress.final_loss, progress.final_accuracy)
        if progress.held >= self._hold:
            return self._end("reached", f"{measured}, held for {self._hold} full passes")
        if progress.closing == "diversity_stopped":
            waits = f"{self.options.diversity_patience} evaluations"
            return self._end(progress.closing, f"diversity stopped growing for {waits}; {measured}")
        if progress.closing == "budget_exhausted":
            held = f"held for {progress.held} of {self._hold} full passes"
            return self._end(
                progress.closing,
                f"no updates left: {measured}, {held}; try more updates or a higher "
                "schedule.learning_rate",
            )
        return Action.CONTINUE

    def restored(self, update: int) -> None:
        """Report that the state after `update` updates is loaded. The smoothed loss goes back to
        its value there."""
        self._expect("restored")
        progress = self._progress
        assert 0 <= update <= progress.update, (update, progress.update)
        self._event("restore", f"back to update {update} at rate {self.rate:.3g}")
        progress.update, progress.expects = update, "observe"
        # They were measured on weights that no longer exist.
        progress.final_loss = progress.final_accuracy = None
        progress.curve.rewind(update)
        progress.wrong.rewind(update)
        self._policy.rewind(update)
        progress.last_pass = None
        progress.spiking = progress.held = 0

    def diversity(self, value: float) -> Action:
        """Take a held-out diversity (e.g. TTR of greedy continuations); higher is more diverse."""
        self._expect("observe")
        progress = self._progress
        if self.options.diversity_patience is None:
            return Action.CONTINUE
        best = progress.best_diversity
        if best is None or value > best + self.options.diversity_min_delta:
            progress.best_diversity, progress.diversity_waits = value, 0
            return Action.CONTINUE
        progress.diversity_waits += 1
        if progress.diversity_waits < self.options.diversity_patience:
            return Action.CONTINUE
        return self._close("diversity_stopped")

    def out_of_updates(self) -> Action:
        """Report that the loop makes no more updates. The answer asks for a last full pass, unless
        the present weights have had one."""
        self._expect("observe")
        return self._close("budget_exhausted")

    def steps_to_go(self) -> int | None:
        """Predicted updates to the end of the run, never above the budget; None when unknown.

        A line is fitted to the log of the smoothed loss (or share of wrong tokens), over the last
        third of the curve, and continued to the target. Its clock advances by the square root of
        the rate in each update, and the future rates are those that the schedule will give. This is
        half-way between a loss that falls in proportion to the rate and one that does not depend on
        it, so the prediction is at most a factor of about 1.5 from either.
        """
        progress = self._progress
        if progress.outcome is not None:
            return 0
        if self.options.mode == "fixed":
            return self.updates_left
        watched = self._watched
        smoothed, slope = watched.smoothed, watched.slope()
        if smoothed is None or slope is None:
            return None
        confirm = (self._hold - max(progress.held, 1)) * self._pass_every
        if self._goal.arrived(smoothed):
            return min(confirm + 1, self.updates_left)
        if slope >= 0:
            return None
        if self._goal.by_accuracy:
            factor = self._policy.factor(self.update)
            updates = self._goal.updates_to(smoothed, slope, factor)
        else:
            target = self.options.target_loss
            updates = self._policy.updates_to(target, smoothed=smoothed, slope=slope)
        return min(updates + confirm, self.updates_left)

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON values, without the options."""
        return {**asdict(self._progress), "rate": asdict(self._policy.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict()`. With a larger budget, a run that had exhausted its budget
        goes on.

        Raises:
            UserError: the run has not ended, and its budget is below the updates made already.
        """
        state = deepcopy(state)
        self._policy.state = RateState(**state.pop("rate"))
        curves = {name: LossCurve(**state.get(name, {})) for name in ("curve", "wrong")}
        self._progress = _Progress(**{**state, **curves})
        if self._progress.outcome == "budget_exhausted" and self.updates_left > 0:
            self._progress.outcome, self._progress.closing = None, None
            self._progress.message, self._progress.expects = "", "observe"
        if self._progress.outcome is None and self.updates_left < 0:
            raise UserError(
                expected=f"a budget of at least the {self.update} updates that were made already",
                got=f"one of {self.update + self.updates_left}",
                fix="raise schedule.max_epochs",
            )

    # How it decides.

    def _spike_threshold(self) -> float:
        reference = self._progress.curve.reference
        if reference is None:
            return math.inf
        return max(self.options.spike_factor * reference, reference + self.options.spike_nats)

    def _spikes(self, loss: float) -> bool:
        progress = self._progress
        progress.spiking = progress.spiking + 1 if loss > self._spike_threshold() else 0
        return progress.spiking >= self.options.spike_updates

    def _pass_is_due(self) -> bool:
        progress, smoothed = self._progress, self._watched.smoothed
        assert smoothed is not None
        if self.options.mode == "fixed":
            return False
        if progress.last_pass is not None and (
            progress.update - progress.last_pass < self._pass_every
        ):
            return False
        return progress.held > 0 or self._goal.near(smoothed)

    @property
    def _watched(self) -> LossCurve:
        """The curve that is compared with the target."""
        return self._progress.wrong if self._goal.by_accuracy else self._progress.curve

    def _ask_for_pass(self) -> Action:
        self._progress.expects = "full_pass"
        return Action.FULL_PASS

    def _close(self, outcome: str) -> Action:
        """End the run after a full pass of the present weights; one made already counts."""
        progress = self._progress
        progress.closing = outcome
        if progress.last_pass == progress.update:
            return self._conclude()
        return self._ask_for_pass()

    def _recover(self, event: str, what: str) -> Action:
        progress = self._progress
        self._event(event, what)
        if progress.recoveries == self.options.max_recoveries:
            # The loop goes back to the last good weights, which these figures do not describe.
            progress.final_loss = progress.final_accuracy = None
            return self._end(
                "diverged",
                f"{what} at update {progress.update}, after {progress.recoveries} restores with "
                f"the rate halved each time (now {self.rate:.3g}); try a lower "
                "schedule.learning_rate, schedule.warmup_updates or gradient clipping",
            )
        progress.recoveries += 1
        self._policy.halve()
        progress.expects = "restored"
        return Action.RESTORE

    def _end(self, outcome: str, message: str) -> Action:
        progress = self._progress
        progress.outcome, progress.message = outcome, f"{outcome.replace('_', ' ')}: {message}"
        progress.expects = "nothing"
        self._event("done", progress.message)
        return Action.STOP

    def _event(self, event: str, message: str) -> None:
        self._progress.events.append(
            {"update": self._progress.update, "event": event, "message": message}
        )

    def _expect(self, call: str) -> None:
        if self._progress.expects != call:
            expects = self._progress.expects
            raise UserError(
                expected=f"{expects} to be called next on the schedule",
                got=call,
                fix="do what each returned action asks for before the next call"
                if expects != "nothing"
                else f"leave the loop once outcome is set ({self.outcome})",
            )
