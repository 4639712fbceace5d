"""What a progress display writes to a terminal, to a log, and when quiet."""

from __future__ import annotations

import io
import sys

import pytest

from common.tools.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(progress: Progress, clock: Clock, *, steps: int, seconds: float) -> None:
    with progress:
        task = progress.task("train", steps)
        for step in range(1, steps + 1):
            clock.now += seconds
            progress.update(task, completed=step, loss=f"{1 / step:.2f}")


def test_plain_lines_come_every_tenth() -> None:
    log, clock = io.StringIO(), Clock()
    run(Progress(stream=log, clock=clock), clock, steps=100, seconds=0.5)
    lines = log.getvalue().splitlines()
    assert lines[0] == "train: 0/100"
    assert lines[1] == "train: 10/100, 0:45 left  loss 0.10"
    assert lines[-1] == "train: 100/100 in 0:50  loss 0.01"
    assert len(lines) == 11


def test_plain_lines_of_a_slow_task_come_every_ten_seconds() -> None:
    log, clock = io.StringIO(), Clock()
    run(Progress(stream=log, clock=clock), clock, steps=1000, seconds=4.0)
    lines = log.getvalue().splitlines()
    assert lines[1].startswith("train: 3/1000, 1:06:28 left")
    assert lines[2].startswith("train: 6/1000")


def test_a_quick_task_tells_only_its_ends() -> None:
    log, clock = io.StringIO(), Clock()
    run(Progress(stream=log, clock=clock), clock, steps=20, seconds=0.01)
    assert log.getvalue().splitlines() == ["train: 0/20", "train: 20/20 in 0:00  loss 0.05"]


def test_the_total_may_change_and_fields_stay() -> None:
    log, clock = io.StringIO(), Clock()
    with Progress(stream=log, clock=clock) as progress:
        first, second = progress.task("train", 10), progress.task("judge", 4)
        clock.now += 20
        progress.update(first, completed=2, loss=3)
        clock.now += 20
        progress.update(first, completed=3, total=5)
        progress.update(second, completed=4)
    assert log.getvalue().splitlines()[2:] == [
        "train: 2/10, 1:20 left  loss 3",
        "train: 3/5, 0:27 left  loss 3",
        "judge: 4/4 in 0:40",
    ]


def test_notes_keep_their_brackets_on_a_terminal_and_in_a_log() -> None:
    for stream in (io.StringIO(), Terminal()):
        with Progress(stream=stream) as progress:
            progress.note("lost [3] of [bold]5")
        assert "lost [3] of [bold]5" in stream.getvalue()


def test_a_terminal_gets_bars_with_the_fields() -> None:
    terminal = Terminal()
    with Progress(stream=terminal) as progress:
        progress.task("read [a]", 3)
        task = progress.task("train [b]", 7)
        progress.update(task, completed=5, total=9, loss="[0.5]")
    written = terminal.getvalue()
    assert "train [b]" in written and "5/9" in written and "loss [0.5]" in written
    assert "0/3" in written


def test_quiet_writes_nothing() -> None:
    for stream in (io.StringIO(), Terminal()):
        clock = Clock()
        progress = Progress(stream=stream, quiet=True, clock=clock)
        run(progress, clock, steps=5, seconds=30)
        progress.note("hidden")
        assert stream.getvalue() == ""


def test_everything_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    run(Progress(clock=clock), clock, steps=3, seconds=1)
    captured = capsys.readouterr()
    assert captured.out == "" and "train: 3/3" in captured.err
    assert not sys.stderr.isatty()
