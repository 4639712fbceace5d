"""Where a training loop writes what happened: one record after the other, none changed later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Write = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Journal:
    """The history of one run, as a loop sees it.

    Attributes:
        write: appends a record; its "update" is the number of updates made so far.
        forget_after: drops the records of later updates, when a run goes back to a checkpoint.
    """

    write: Write
    forget_after: Callable[[int], None]
