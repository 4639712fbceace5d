"""What every training loop needs that can be killed and resumed: clock, cadence, journal,
checkpoints and Ctrl-C.

A loop makes updates one by one. The updates between two log lines are a window. Only at the end of
a window does the loop synchronise with the device, write the history, give the losses to its
schedule and save. So every checkpoint is at a log line, and a resumed run decides at the same
updates as one that was never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.spacing import Cadence, Spacing, due
from common.record.journal import Journal
from common.tools.interrupt import deferred_interrupt


class Ending(Protocol):
    """The part of a schedule that a session uses."""

    @property
    def outcome(self) -> str | None: ...
    @property
    def updates_left(self) -> int: ...


class Session:
    """One run of a loop: in one process or, if it is resumed, in several.

    Args:
        checkpoints: where the states are saved.
        journal: where the history is written.
        cadence: how often to log, save and measure.
        on_window: called after each window with the update number (for progress bars).

    Attributes:
        update: updates made so far. A run that goes back to a checkpoint does not count those
            after it.
        pending: how many of these belong to the present window.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        journal: Journal,
        cadence: Cadence,
        *,
        on_window: Callable[[int], None] | None = None,
    ) -> None:
        self.checkpoints, self.journal, self.cadence = checkpoints, journal, cadence
        self.update = self.pending = 0
        self._on_window = on_window
        self._seconds_before, self._started = 0.0, time.perf_counter()
        self._notices: list[str] = []

    @property
    def seconds(self) -> float:
        """Seconds spent so far, earlier processes of a resumed run included."""
        return self._seconds_before + time.perf_counter() - self._started

    # The loop.

    def start(self, *, resume: bool) -> dict[str, Any] | None:
        """Start the clock; returns the newest whole state if the run is resumed, else None.

        Raises:
            UserError: there is nothing to resume.
        """
        self._started = time.perf_counter()
        if not resume:
            self.journal.forget_after(-1)  # lines of a run that was killed before it saved
            return None
        state, notices = self._newest()
        self._seconds_before = state["seconds"]
        self._notices = [*notices, f"resumed after update {self.update}"]
        return state

    def run(
        self, schedule: Ending, make_update: Callable[[], None], end_window: Callable[[bool], None]
    ) -> None:
        """Make updates until the schedule has an outcome.

        Args:
            schedule: says when the run ends.
            make_update: makes the next update, without waiting for the device.
            end_window: logs, validates and saves. Its argument is whether the run was interrupted;
                then it must save a checkpoint.

        Raises:
            KeyboardInterrupt: after Ctrl-C or SIGTERM, at the end of the window, once a checkpoint
                is saved.
        """
        for notice in self._notices:
            self.journal.write(
                {"kind": "event", "update": self.update, "event": "resume", "message": notice}
            )
        with deferred_interrupt() as interrupt:
            while schedule.outcome is None:
                make_update()
                self.update, self.pending = self.update + 1, self.pending + 1
                if not self._window_ends(self.update, self.pending, schedule):
                    continue
                stop = interrupt.requested
                end_window(stop)
                self.pending = 0
                if self._on_window is not None:
                    self._on_window(self.update)
                if stop:
                    raise KeyboardInterrupt

    def ends_window_next(self, schedule: Ending) -> bool:
        """Whether the update about to be made is the last of its window."""
        return self._window_ends(self.update + 1, self.pending + 1, schedule)

    def _window_ends(self, update: int, pending: int, schedule: Ending) -> bool:
        # A schedule does not accept more losses than its budget has updates left.
        return update % self.cadence.log_every == 0 or pending >= schedule.updates_left

    def due(self, spacing: Spacing) -> bool:
        """Whether one of the points lies within the window that ends now."""
        return due(spacing, self.update - self.pending, self.update)

    # States.

    def save(self, state: dict[str, Any]) -> None:
        """Save a state, with the number of updates and the clock.

        Raises:
            UserError: the disk is full or read-only; earlier checkpoints stay.
        """
        whole = {"update": self.update, "seconds": self.seconds, **state}
        self.checkpoints.save(self.update, whole)

    def go_back(self) -> dict[str, Any]:
        """Go back to the newest whole checkpoint; returns its state."""
        return self._newest()[0]

    def _newest(self) -> tuple[dict[str, Any], list[str]]:
        state, notices = self.checkpoints.load_newest()
        self.update = state["update"]
        self.journal.forget_after(self.update)
        self.checkpoints.drop_after(self.update)
        return state, notices
