"""Ctrl-C and SIGTERM as a request that a loop reads where it can stop safely."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether a signal requested a stop."""

    requested = False


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Record the first signal in the yielded object; a second one raises at once.

    Outside the main thread, where Python allows no handlers, nothing changes.

    Raises:
        KeyboardInterrupt: at a second signal.
    """
    interrupt = Interrupt()

    def note(_number: int, _frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    try:
        before = [signal.signal(number, note) for number in _SIGNALS]
    except ValueError:  # not the main thread
        yield interrupt
        return
    try:
        yield interrupt
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
