"""Progress on stderr: live bars on a terminal, plain lines elsewhere, nothing when quiet.

In a log file a line every few seconds is noise, and a bar redrawn with control codes is worse. So
there a task reports its beginning and end, every tenth of its steps, and at the latest every ten
seconds. Standard output stays free for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

LINE_SECONDS = 10.0
LINE_SHARE = 0.1
# A short task would print its ten lines within a moment.
LEAST_SECONDS = 1.0


@dataclass
class _Task:
    description: str
    total: int
    begun: float
    completed: int = 0
    reported_at: float = 0.0
    reported_completed: int = 0
    fields: dict[str, str] = field(default_factory=dict)


class Progress:
    """Shows how far a run is. Use as a context manager.

    Args:
        quiet: show nothing at all.
        stream: where to write; by default the standard error of the moment.
        clock: seconds that never decrease; tests replace it.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quiet = quiet
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._tasks: list[_Task] = []
        self._bars: Bars | None = None
        if not quiet and self._stream.isatty():
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[more]}"),
                console=Console(file=self._stream),
            )

    def __enter__(self) -> Progress:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def task(self, description: str, total: int) -> int:
        """Begin a task of `total` steps; returns its number, for `update`."""
        now = self._clock()
        self._tasks.append(_Task(description, total, begun=now, reported_at=now))
        if self._bars is not None:
            return int(self._bars.add_task(escape(description), total=total, more=""))
        self._line(f"{description}: 0/{total}")
        return len(self._tasks) - 1

    def update(
        self, task: int, *, completed: int, total: int | None = None, **fields: object
    ) -> None:
        """Report how far a task is.

        Args:
            completed: steps done so far, not the steps since the last call.
            total: a new total, where the prediction has changed.
            fields: further values to show, e.g. loss="0.31"; each stays until it is given again.
        """
        state = self._tasks[task]
        state.completed = completed
        state.total = state.total if total is None else total
        state.fields |= {name: str(value) for name, value in fields.items()}
        more = "  ".join(f"{name} {value}" for name, value in state.fields.items())
        if self._bars is not None:
            ids = self._bars.task_ids
            self._bars.update(ids[task], completed=completed, total=state.total, more=escape(more))
        elif self._due(state):
            state.reported_at, state.reported_completed = self._clock(), completed
            line = f"{state.description}: {completed}/{state.total}{self._left(state)}  {more}"
            self._line(line.rstrip())

    def note(self, text: str) -> None:
        """Print a line above the bars, where it stays."""
        if self._bars is not None:
            self._bars.console.print(escape(text), highlight=False)
        else:
            self._line(text)

    def _due(self, state: _Task) -> bool:
        if state.completed == state.reported_completed:
            return False
        if state.completed >= state.total:
            return True
        since = self._clock() - state.reported_at
        way = (state.completed - state.reported_completed) / state.total
        return since >= LINE_SECONDS or (way >= LINE_SHARE and since >= LEAST_SECONDS)

    def _left(self, state: _Task) -> str:
        spent = self._clock() - state.begun
        if state.completed >= state.total:
            return f" in {_duration(spent)}"
        if state.completed <= 0:
            return ""
        return f", {_duration(spent * (state.total - state.completed) / state.completed)} left"

    def _line(self, text: str) -> None:
        if not self._quiet:
            print(text, file=self._stream, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
